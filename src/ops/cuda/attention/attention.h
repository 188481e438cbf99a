#pragma once

#include <cuda_runtime_api.h>

#include "ops/attention.h"
#include "ops/read_kv.h"
#include "ops/rope_append_kv.h"

namespace emberq::cuda {

inline constexpr int kMaxHeadDim = 256;

// The operations on a paged cache, each in the file of its name.
void rope_append_kv(const RopeAppendKv& op, int multiprocessors, cudaStream_t stream);
void read_kv(const ReadKv& op, cudaStream_t stream);
// Attention by its definition, a CTA for each token and head, with double sums.
void attention_naive(const Attention& op, cudaStream_t stream);

}  // namespace emberq::cuda
