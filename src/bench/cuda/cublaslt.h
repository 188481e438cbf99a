#pragma once

#include <memory>
#include <string>

#include "ops/backend.h"

namespace emberq::bench {

// cuBLASLt, to compare with. The library has half a gigabyte, so it is opened at run time and
// nothing links to it.
class CublasLt {
 public:
  struct State;

  // Opens `file`; InputError if that fails. If it is empty, opens what EMBERQ_CUBLASLT names, a
  // library or a Python's site-packages folder with one. Otherwise searches the loader's path for
  // the versions that are known here. If none is found, present() is false and why_not() says why.
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
// fast accumulation, on the backend's stream. FP8 takes multiples of 16 rows.
class CublasLtProduct {
 public:
  enum class Inputs { kBf16, kFp8 };
  CublasLtProduct(const CublasLt& library, Inputs inputs, int64_t n, int64_t k, int64_t m);
  ~CublasLtProduct();

  // Up to eight that the library proposes for this product, its first choice first.
  int algorithms() const;
  // False if the library refuses this algorithm after all.
  bool run(int algorithm, const void* x, const void* w, void* out);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace emberq::bench
