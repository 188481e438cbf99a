#pragma once

#include <cuda_bf16.h>

#include <cstdint>

namespace emberq::device {

// What becomes of a linear's sums: token scale, bias and residual in FP32, then one rounding.
struct LinearEpilogue {
  const float* x_scale;           // [m] or null
  const float* bias;              // [n] or null
  const __nv_bfloat16* residual;  // [m, n] or null; may be out
  __nv_bfloat16* out;             // [m, n]
  int m, n;

  template <class Linear>
  static LinearEpilogue of(const Linear& op) {
    return {op.x.scale,
            op.bias,
            static_cast<const __nv_bfloat16*>(op.residual.data),
            static_cast<__nv_bfloat16*>(op.out.data),
            int(op.out.rows),
            int(op.out.dim)};
  }

  __device__ void store(int token, int column, float sum) const {
    const int64_t at = int64_t(token) * n + column;
    float y = x_scale ? sum * x_scale[token] : sum;
    if (bias) y += bias[column];
    if (residual) y += __bfloat162float(residual[at]);
    out[at] = __float2bfloat16(y);
  }
};

}  // namespace emberq::device
