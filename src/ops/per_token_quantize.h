#pragma once

#include "ops/activations.h"
#include "ops/cost.h"

namespace emberq {

// out = x in codes by the rules of RmsNorm's output (ops/rms_norm.h).
struct PerTokenQuantize {
  Activations x;    // [rows, dim], not quantized
  Activations out;  // [rows, dim], quantized
};

void check(const PerTokenQuantize& op);
Cost cost(const PerTokenQuantize& op);

}  // namespace emberq
