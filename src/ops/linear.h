#pragma once

#include "ops/activations.h"
#include "ops/cost.h"
#include "ops/weight.h"

namespace emberq {

// out[m, n] = x_scale[r] * sum_k x[r, k] * w[n, k] + bias[n] + residual[m, n],  r = rows[m]
//
// x are the codes where x is quantized, else the values, with x_scale = 1. w are the weight's
// values (tensor/quantized_weight.h). Sums in float or better, in an order that depends on (m, n,
// k) and the number of threads only; out is rounded once. out is of the backend's activation type
// or F32, on CUDA also FP16, to infinity beyond 65504. residual is of out's type.
struct Linear {
  Activations x;                   // [r, k]
  const Weight* weight = nullptr;  // [n, k]
  const float* bias = nullptr;     // [n] or null
  const int32_t* rows = nullptr;   // [m], rows of x, in the backend's memory; null: 0 ... m - 1
  Activations residual;            // [m, n] or none; may be out
  Activations out;                 // [m, n], not quantized
};

void check(const Linear& op);
Cost cost(const Linear& op);

}  // namespace emberq
