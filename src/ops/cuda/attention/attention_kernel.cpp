#include "ops/cuda/attention/attention_kernel.h"

#include <fmt/format.h>

#include <algorithm>

namespace emberq::cuda {
namespace {

int64_t queries_of_head(const Attention& op) { return op.heads() / op.cache.kv_heads; }

// Why SplitKvKernel does not take the operation; empty where it does.
std::string split_kv_obstacle(const Attention& op) {
  const int64_t dim = op.cache.head_dim, most = dim == 256 ? 8 : 16;
  if (dim != 64 && dim != 128 && dim != 256) return fmt::format("heads of {} channels", dim);
  if (op.cache.page_tokens % 16 != 0)
    return fmt::format("pages of {} tokens", op.cache.page_tokens);
  if (queries_of_head(op) > most)
    return fmt::format("{} query heads for a head of keys", queries_of_head(op));
  if (op.batch.sequences() > kSplitKvSequences)
    return fmt::format("more than {} sequences", kSplitKvSequences);
  return "";
}

bool prefill_takes(const Attention& op) {
  const int64_t dim = op.cache.head_dim;
  return (dim == 64 || dim == 128) && op.cache.page_tokens % 16 == 0 &&
         op.batch.sequences() <= kPrefillSequences;
}

// Whether it is the faster one.
bool prefill_pays(const Attention& op) {
  // Rows (new tokens times query heads of a KV head) from which on wgmma's 64 rows are used better
  // than the small tiles of SplitKvKernel.
  constexpr int64_t kRowsThatPay = 17;
  return std::ranges::any_of(op.batch.on_host, [&](const BatchSequence& s) {
    return s.new_tokens * queries_of_head(op) >= kRowsThatPay;
  });
}

}  // namespace

AttentionKernel attention_kernel(const Attention& op, bool invariant) {
  if (!invariant && prefill_takes(op) && prefill_pays(op)) return AttentionKernel::kPrefill;
  return split_kv_obstacle(op).empty() ? AttentionKernel::kSplitKv : AttentionKernel::kNaive;
}

std::string attention_obstacle(const Attention& op, bool invariant) {
  const bool naive = attention_kernel(op, invariant) == AttentionKernel::kNaive;
  return naive ? split_kv_obstacle(op) : "";
}

bool prefill_is_fp8(const Attention& op) {
  const KvScheme kv = op.cache.scheme;
  return op.cache.head_dim == 128 && op.query.dtype == DType::kF8E4M3 &&
         op.probability == ProbabilityScheme::kFp8 && kv != KvScheme::kFp &&
         kv != KvScheme::kInt8Head;
}

}  // namespace emberq::cuda
