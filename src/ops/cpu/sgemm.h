#pragma once

#include "tensor/matrix.h"

namespace emberq::cpu {

enum class Op { kNone, kTranspose };

// c = alpha * a * op(b) + beta * c, row-major, strides in elements. On all threads, or, inside a
// parallel_for, on the calling one.
struct Sgemm {
  int64_t m = 0, n = 0, k = 0;
  const float* a = nullptr;  // [m, k]
  int64_t a_stride = 0;
  const float* b = nullptr;  // [k, n], or [n, k] where transposed
  int64_t b_stride = 0;
  Op op_b = Op::kNone;
  float* c = nullptr;  // [m, n]
  int64_t c_stride = 0;
  float alpha = 1, beta = 0;
};

void sgemm(const Sgemm& op);

}  // namespace emberq::cpu
