#pragma once

#include "ops/activations.h"
#include "ops/cost.h"

namespace emberq {

// out = e4m3 of x by row: out.scale[r] = fp8_row_scale(max_c |x[r, c]|), codes = fp8_quantize(x,
// scale).
struct QuantizeRows {
  Activations x;    // [rows, dim], not quantized
  Activations out;  // [rows, dim], quantized
};

void check(const QuantizeRows& op);
Cost cost(const QuantizeRows& op);

}  // namespace emberq
