#pragma once

#include <cuda_runtime_api.h>

#include <memory>
#include <string>

#include "ops/backend.h"

namespace emberq::cuda {

// cuBLASLt, for products of BF16 weights, and to compare with. The library has half a gigabyte, so
// it is opened at run time and nothing links to it.
class CublasLt {
 public:
  struct State;

  // Opens `file`; InputError if that fails. If it is empty, opens what EMBERQ_CUBLASLT names, a
  // library or a Python's site-packages folder with one. Otherwise searches the loader's path for
  // the versions that are known here. If none is found, present() is false and why_not() says why.
  CublasLt(Backend& backend, cudaStream_t stream, const std::string& file);
  ~CublasLt();

  bool present() const { return state_ != nullptr; }
  const std::string& why_not() const { return why_not_; }
  std::string version() const;  // and the file: "13.1.0 (libcublasLt.so.13)"
  State& state() const { return *state_; }

 private:
  std::unique_ptr<State> state_;
  std::string why_not_;
};

// What is multiplied: out[m, n] = sum_k x[m, k] * w[n, k] (+ added[m, n]), of BF16 inputs or of
// e4m3 ones with scales of 1 and fast accumulation. FP8 takes multiples of 16 rows.
struct CublasLtShape {
  enum class Inputs { kBf16, kFp8 };
  Inputs inputs = Inputs::kBf16;
  DType out = DType::kBF16;  // F32, F16 or BF16
  int64_t n = 0, k = 0, m = 0;
  bool operator==(const CublasLtShape&) const = default;
};

// A product, on the library's stream.
class CublasLtProduct {
 public:
  using Inputs = CublasLtShape::Inputs;
  CublasLtProduct(const CublasLt& library, const CublasLtShape& shape);
  ~CublasLtProduct();

  // Up to eight that the library proposes for this product, its first choice first.
  int algorithms() const;
  // False if the library refuses this algorithm after all.
  bool run(int algorithm, const void* x, const void* w, void* out, const void* added = nullptr);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace emberq::cuda
