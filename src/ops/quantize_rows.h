#pragma once

#include "ops/activations.h"
#include "ops/cost.h"

namespace emberq {

// out = x in codes by the rules of RmsNorm's output (ops/rms_norm.h).
struct QuantizeRows {
  Activations x;    // [rows, dim], not quantized
  Activations out;  // [rows, dim], quantized
};

void check(const QuantizeRows& op);
Cost cost(const QuantizeRows& op);

}  // namespace emberq
