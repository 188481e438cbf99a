#pragma once

#include <string>

#include "ops/attention.h"

// The choice among the kernels of attention. Nothing here needs a GPU.
namespace emberq::cuda {

inline constexpr int kPrefillSequences = 1024;  // that a batch of PrefillKernel may have
inline constexpr int kSplitKvSequences = 512;   // of SplitKvKernel

enum class AttentionKernel { kNaive, kSplitKv, kPrefill };

// PrefillKernel takes heads of 64 or 128 channels, pages of multiples of 16 tokens and any number
// of query heads for a head of keys. SplitKvKernel takes heads of 256 channels too, and at most 16
// of queries (8 of 256 channels) for one of keys. PrefillKernel runs where a sequence has new
// tokens enough to fill rows of a product, unless `invariant`: long prompts' results would depend
// on the batch's other sequences by which kernel runs.
AttentionKernel attention_kernel(const Attention& op, bool invariant);
// Why attention_kernel() is kNaive: "heads of 80 channels". Empty where it is not.
std::string attention_obstacle(const Attention& op, bool invariant);

// Whether PrefillKernel's products are of e4m3 numbers.
bool prefill_is_fp8(const Attention& op);

}  // namespace emberq::cuda
