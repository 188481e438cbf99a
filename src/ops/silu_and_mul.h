#pragma once

#include "ops/activations.h"
#include "ops/cost.h"

namespace emberq {

// y[r, c] = gate[r, c] / (1 + exp(-gate[r, c])) * up[r, c], in float, and where `hadamard` is not 0
// every block of that many columns goes through hadamard() (format/hadamard.h); out is y rounded
// once, or quantized by row as in RmsNorm. Where 1 / (1 + exp(-gate)) is below e^-87 it counts as
// something from zero to that.
//
// gate and up may be one matrix, as a product with both weights' rows in that order leaves it:
// `gate` has eight columns of gate, the eight of up that belong to them, and so on, and `up` is
// absent.
struct SiluAndMul {
  Activations gate, up;  // [rows, dim], not quantized; or gate [rows, 2 * dim] and up absent
  Activations out;       // [rows, dim]; where not quantized may be gate or up of [rows, dim]
  int64_t hadamard = 0;  // a power of two that divides dim, or 0

  static constexpr int64_t kInterleaved = 8;  // columns of one, then of the other
  bool interleaved() const { return up.dim == 0; }
};

void check(const SiluAndMul& op);
Cost cost(const SiluAndMul& op);

}  // namespace emberq
