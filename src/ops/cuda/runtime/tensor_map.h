#pragma once

#include <cuda.h>

#include "ops/activations.h"

namespace emberq::cuda {

// e4m3 rows of `x` for copies of boxes of 128 columns and `rows` rows, in the 128-byte swizzle.
// Rows must start at multiples of 16 bytes.
CUtensorMap map_rows(const Activations& x, int rows);
// Likewise numbers of 16 bits, in boxes of 64 columns.
CUtensorMap map_halves(const Activations& x, int rows);

}  // namespace emberq::cuda
