#include "ops/kv_pool.h"

#include <atomic>
#include <limits>
#include <utility>

#include "base/check.h"
#include "ops/backend.h"

namespace emberq {
namespace {

constexpr size_t kAlignment = 64;

size_t aligned(size_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }

}  // namespace

KvPoolFull::KvPoolFull(int64_t needed, int64_t free, int64_t pages, int64_t page_tokens)
    : Error(fmt::format("the KV cache is full: {} more pages of {} tokens are needed, {} of {} are "
                        "free",
                        needed, page_tokens, free, pages)),
      needed_(needed),
      free_(free) {}

KvPool::KvPool(Backend& backend, const KvCacheShape& shape, int64_t page_tokens, int64_t pages)
    : backend_(&backend), shape_(shape), page_tokens_(page_tokens), pages_(pages) {
  EMBERQ_CHECK(page_tokens > 0 && pages > 0 && pages <= std::numeric_limits<int32_t>::max() &&
                   shape.head_dim % 2 == 0,
               "KV pool: {} pages of {} tokens, heads of {}", pages, page_tokens, shape.head_dim);
  static std::atomic<uint64_t> pools = 0;
  id_ = ++pools;
  const int64_t stored_pages = pages + (scratch_page() ? 1 : 0);
  const size_t vectors = size_t(shape.kv_heads * page_tokens * stored_pages);
  const size_t codes =
      aligned(vectors * kv_code_bytes(shape.scheme, shape.head_dim, backend.activation_type()));
  const size_t scales = aligned(vectors * kv_scale_bytes(shape.scheme));
  memory_ = static_cast<std::byte*>(backend.allocate(size_t(shape.layers) * 2 * (codes + scales)));
  std::byte* next = memory_;
  const auto take = [&](size_t bytes) { return std::exchange(next, next + bytes); };
  for (int64_t i = 0; i < shape.layers; ++i)
    layers_.push_back({.scheme = shape.scheme,
                       .kv_heads = shape.kv_heads,
                       .head_dim = shape.head_dim,
                       .page_tokens = page_tokens,
                       .pages = stored_pages,
                       .key = take(codes),
                       .value = take(codes),
                       .key_scale = take(scales),
                       .value_scale = take(scales)});
  for (int64_t page = pages; page-- > 0;) free_.push_back(int32_t(page));
}

KvPool::~KvPool() { backend_->release(memory_); }

void KvPool::reserve(std::span<const Growth> growths) {
  const auto missing = [&](const Growth& growth) {
    const int64_t pages = pages_for(growth.length, page_tokens_);
    return std::max<int64_t>(0, pages - int64_t(growth.sequence->pages_.size()));
  };
  int64_t needed = 0;
  for (const Growth& growth : growths) {
    EMBERQ_CHECK(growth.sequence->pool_ == this, "KV pool: a sequence of another pool");
    needed += missing(growth);
  }
  if (needed > free_pages()) throw KvPoolFull(needed, free_pages(), pages_, page_tokens_);
  // All memory is taken before the first page moves, so that nothing can fail between two.
  for (const Growth& growth : growths)
    growth.sequence->pages_.reserve(growth.sequence->pages_.size() + size_t(missing(growth)));
  for (const Growth& growth : growths)
    for (int64_t more = missing(growth); more > 0; --more) {
      growth.sequence->pages_.push_back(free_.back());
      free_.pop_back();
    }
}

KvSequence::KvSequence(KvSequence&& other) noexcept
    : pool_(other.pool_),
      pages_(std::exchange(other.pages_, {})),
      length_(std::exchange(other.length_, 0)) {}

void KvSequence::truncate(int64_t length) {
  EMBERQ_CHECK(length >= 0 && length <= length_, "a sequence of {} tokens cut to {}", length_,
               length);
  const auto kept = size_t(pages_for(length, pool_->page_tokens_));
  for (; pages_.size() > kept; pages_.pop_back()) pool_->free_.push_back(pages_.back());
  length_ = length;
}

void KvSequence::extend(int64_t tokens) {
  EMBERQ_CHECK(tokens >= 0 && length_ + tokens <= capacity(), "{} + {} tokens in pages for {}",
               length_, tokens, capacity());
  length_ += tokens;
}

}  // namespace emberq
