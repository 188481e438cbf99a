#include "ops/cuda/attention/prefill.h"

#include <algorithm>
#include <vector>

namespace emberq::cuda {
namespace {

// Rows (new tokens times query heads of a KV head) from which on wgmma's 64 rows are used better
// than the small tiles of split_kv.
constexpr int64_t kRowsThatPay = 17;

}  // namespace

PrefillWorkspace::PrefillWorkspace(Backend& of, int count)
    : multiprocessors(count), counters(upload(of, std::vector<int>(2))) {}

bool prefill_takes(const Attention& op) {
  const int64_t dim = op.cache.head_dim;
  return (dim == 64 || dim == 128) && op.cache.page_tokens % 16 == 0 &&
         op.batch.sequences() <= kPrefillSequences;
}

bool prefill_pays(const Attention& op) {
  const int64_t group = op.heads() / op.cache.kv_heads;
  return std::any_of(op.batch.on_host.begin(), op.batch.on_host.end(),
                     [&](const BatchSequence& s) { return s.new_tokens * group >= kRowsThatPay; });
}

bool prefill_is_fp8(const Attention& op) {
  const KvScheme kv = op.cache.scheme;
  return op.cache.head_dim == 128 && op.query.dtype == DType::kF8E4M3 &&
         op.probability == ProbabilityScheme::kFp8 && kv != KvScheme::kFp &&
         kv != KvScheme::kInt8Head;
}

void attention_prefill(const PrefillCall& call) {
  return call.op.cache.head_dim == 64 ? prefill_of<64>(call) : prefill_of<128>(call);
}

}  // namespace emberq::cuda
