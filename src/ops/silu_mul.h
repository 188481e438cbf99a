#pragma once

#include "ops/activations.h"
#include "ops/cost.h"

namespace emberq {

// y[r, c] = gate[r, c] / (1 + exp(-gate[r, c])) * up[r, c], in float; out is y rounded once, or
// e4m3 by row as in RmsNorm.
struct SiluMul {
  Activations gate, up;  // [rows, dim], not quantized
  Activations out;       // [rows, dim]; may be gate or up where not quantized
};

void check(const SiluMul& op);
Cost cost(const SiluMul& op);

}  // namespace emberq
