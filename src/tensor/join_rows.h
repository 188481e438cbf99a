#pragma once

#include <span>

#include "tensor/quantized_weight.h"

namespace emberq {

// The rows of several matrices as one matrix: `block` rows of the first, as many of the second and
// so on, then the next of each; or with block 0 all rows of the first, then all of the second. The
// matrices have the same columns and type and, with a block, as many rows, a multiple of it.
Tensor join_rows(std::span<const Tensor> parts, int64_t block);

// Whether linears in these codes can be one matrix: their schemes, scales' types and global scales
// are the same.
bool can_join_rows(std::span<const QuantizedWeight> parts);
QuantizedWeight join_rows(std::span<const QuantizedWeight> parts, int64_t block);

}  // namespace emberq
