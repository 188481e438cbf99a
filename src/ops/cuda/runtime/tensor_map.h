#pragma once

#include <cuda.h>

#include "ops/activations.h"

// Tensor maps for 2D TMA copies in the 128-byte swizzle. Rows of x must start at multiples of 16
// bytes.
namespace emberq::cuda {

// Boxes of 128 columns of e4m3 and `rows` rows.
CUtensorMap e4m3_tensor_map(const Activations& x, int rows);
// Boxes of 64 columns of 16-bit elements and `rows` rows.
CUtensorMap half_tensor_map(const Activations& x, int rows);

}  // namespace emberq::cuda
