#pragma once

#include <memory>
#include <string>

#include "ops/backend.h"

namespace emberq::cuda {

// NVIDIA's library of products, to compare with. Half a gigabyte, so it is opened where it is
// asked for, and nothing links to it.
class CublasLt {
 public:
  struct State;

  // `file` opened, or InputError. An empty one: what EMBERQ_CUBLASLT names, the library or a
  // Python's site-packages folder with it; else the versions that we know, by the loader's search.
  // Where that finds none, it is absent, and why_not() says why.
  CublasLt(Backend& backend, const std::string& file);
  ~CublasLt();

  bool present() const { return state_ != nullptr; }
  const std::string& why_not() const { return why_not_; }
  std::string version() const;  // and the file: "13.1.0 (libcublasLt.so.13)"
  State& state() const { return *state_; }

 private:
  std::unique_ptr<State> state_;
  std::string why_not_;
};

// out[m, n] = sum_k x[m, k] * w[n, k] in BF16, of BF16 inputs or of e4m3 ones with scales of 1 and
// fast accumulation, on the backend's stream. FP8 takes rows by the sixteen.
class CublasLtProduct {
 public:
  enum class Inputs { kBf16, kFp8 };
  CublasLtProduct(const CublasLt& library, Inputs inputs, int64_t n, int64_t k, int64_t m);
  ~CublasLtProduct();

  // That the library proposes for this product, up to eight, what it takes for the best first.
  int algorithms() const;
  // False where it refuses to run this one after all.
  bool run(int algorithm, const void* x, const void* w, void* out);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace emberq::cuda
