#pragma once

#include "ops/activations.h"
#include "ops/cost.h"
#include "ops/weight.h"

namespace emberq {

// out[m, n] = x_scale[m] * sum_k x[m, k] * w[n, k] + bias[n] + residual[m, n]
//
// x are the codes where x is quantized, else the values, with x_scale = 1. w are the weight's
// values (tensor/quantized_weight.h). Sums in float or better, in an order that depends on (m, n,
// k) and the number of threads only; out is rounded once. residual is of out's type, which on CUDA
// may also be FP16, to infinity beyond 65504.
struct Linear {
  Activations x;                   // [m, k]
  const Weight* weight = nullptr;  // [n, k]
  const float* bias = nullptr;     // [n] or null
  Activations residual;            // [m, n] or none; may be out
  Activations out;                 // [m, n], not quantized
};

void check(const Linear& op);
Cost cost(const Linear& op);

}  // namespace emberq
