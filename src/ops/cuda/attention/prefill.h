#pragma once

#include <cuda_runtime_api.h>

#include "ops/attention.h"
#include "ops/backend.h"
#include "ops/cuda/attention/attention_kernel.h"

namespace emberq::cuda {

// The counters by which CTAs share out a batch's tiles. It belongs to one stream.
struct PrefillWorkspace {
  PrefillWorkspace(Backend& of, int count);

  int multiprocessors;
  Buffer counters;  // [2] I32: tiles that were taken, CTAs that ended; zeros between calls
};

struct PrefillCall {
  const Attention& op;
  PrefillWorkspace& workspace;
  cudaStream_t stream;
};
template <int kDim>
void prefill_of(const PrefillCall& call);  // one source file each in instances/
// Attention of many new tokens. Products are of e4m3 numbers where queries are, and probabilities
// shall be, with codes of four bits and heads of 128 channels. What is rounded then is probability
// times scale of the value, relative to the largest such product of the tokens before and so far in
// the tile. Elsewhere that is rounded to FP16, and with a cache of BF16 to BF16.
void attention_prefill(const PrefillCall& call);

}  // namespace emberq::cuda
