#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdint>

#include "ops/linear.h"

namespace emberq::cuda {

// The output of a linear, one element at a time: bias and residual in FP32, then one rounding.
struct LinearOutput {
  const float* bias;     // [n] or null
  const void* residual;  // [m, n] of the output's type or null; may alias out
  void* out;             // [m, n]
  int m, n;
  DType type;  // F32, F16 or BF16

  static LinearOutput of(const Linear& op) {
    return {op.bias,          op.residual.data, op.out.data,
            int(op.out.rows), int(op.out.dim),  op.out.dtype};
  }

  // No sum is fused with what y is the product of, so that every kernel rounds alike.
  __device__ void store(int token, int column, float y) const {
    const int64_t at = int64_t(token) * n + column;
    if (bias) y = __fadd_rn(y, bias[column]);
    if (residual) y = __fadd_rn(y, residual_at(at));
    switch (type) {
      case DType::kF32:
        static_cast<float*>(out)[at] = y;
        return;
      case DType::kF16:
        static_cast<__half*>(out)[at] = __float2half_rn(y);
        return;
      default:
        static_cast<__nv_bfloat16*>(out)[at] = __float2bfloat16_rn(y);
    }
  }

 private:
  __device__ float residual_at(int64_t at) const {
    switch (type) {
      case DType::kF32:
        return static_cast<const float*>(residual)[at];
      case DType::kF16:
        return __half2float(static_cast<const __half*>(residual)[at]);
      default:
        return __bfloat162float(static_cast<const __nv_bfloat16*>(residual)[at]);
    }
  }
};

}  // namespace emberq::cuda
