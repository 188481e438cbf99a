#pragma once

#include "ops/cuda/linear/general.h"
#include "ops/embed.h"

namespace emberq::cuda {

// The rows of a quantized table that the ids name, in BF16.
void embed_rows(const Embed& op, const CanonicalWeight& table, cudaStream_t stream);
void embed_rows(const Embed& op, const ByteWeight& table, cudaStream_t stream);
void embed_rows(const Embed& op, const TiledWeight& table, cudaStream_t stream);

}  // namespace emberq::cuda
