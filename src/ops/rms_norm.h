#pragma once

#include "ops/activations.h"
#include "ops/cost.h"

namespace emberq {

// y[r, c] = x[r, c] / sqrt(mean_c(x[r, c]^2) + eps) * weight[c], in float.
//
// Where there is an addend, x + addend rounded once to the activation type takes the place of x and
// is stored to `sum`.
//
// out is y rounded once to the activation type or, where out is quantized, codes by the rules of
// format/scale.h, of the float y, with a scale per row or group: e4m3, fp8_row_scale(max |y|) and
// fp8_quantize(y, scale); I8, int_row_scale(max |y|, code_max) and int_quantize(y, scale,
// code_max).
struct RmsNorm {
  Activations x;                  // [rows, dim], not quantized
  Activations addend;             // [rows, dim] or none, not quantized
  Activations sum;                // [rows, dim] with an addend, not quantized; may be either
  const float* weight = nullptr;  // [dim]
  Activations out;  // [rows, dim]; where not quantized may be x or addend, but not sum
  float eps = 1e-5f;
};

void check(const RmsNorm& op);
Cost cost(const RmsNorm& op);

}  // namespace emberq
