#pragma once

#include "ops/activations.h"
#include "ops/cost.h"

namespace emberq {

// y[r, c] = gate[r, c] / (1 + exp(-gate[r, c])) * up[r, c], in float, and where `hadamard` is not 0
// every block of that many columns goes through hadamard() (format/hadamard.h); out is y rounded
// once, or quantized by row as in RmsNorm.
struct SiluMul {
  Activations gate, up;  // [rows, dim], not quantized
  Activations out;       // [rows, dim]; may be gate or up where not quantized
  int64_t hadamard = 0;  // a power of two that divides dim, or 0
};

void check(const SiluMul& op);
Cost cost(const SiluMul& op);

}  // namespace emberq
