#pragma once

#include "ops/cuda/linear/linear.h"

namespace emberq::cuda {

// Fills to.tiles, of OperandFormat::kE4m3, from the codes and BF16 scales of an [n, k] weight.
void repack_byte_tiles(const CanonicalWeight& from, const TiledWeight& to, int64_t n, int64_t k,
                       cudaStream_t stream);

}  // namespace emberq::cuda
