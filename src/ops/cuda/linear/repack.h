#pragma once

#include "ops/cuda/linear/linear.h"

namespace emberq::cuda {

// Fills to.tiles, of four-bit codes, from the codes and scales of an [n, k] weight.
void repack_tiles(const CanonicalWeight& from, const TiledWeight& to, int64_t n, int64_t k,
                  cudaStream_t stream);

}  // namespace emberq::cuda
