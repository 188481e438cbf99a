#pragma once

#include <optional>
#include <span>
#include <vector>

#include "base/error.h"
#include "ops/kv_layer.h"

namespace emberq {

class Backend;
class KvSequence;

// A KvPool has fewer free pages than were asked for. Nothing has changed.
class KvPoolFull : public Error {
 public:
  KvPoolFull(int64_t needed, int64_t free, int64_t pages, int64_t page_tokens);
  int64_t needed() const { return needed_; }
  int64_t free() const { return free_; }

 private:
  int64_t needed_, free_;
};

// Owns the pages that keys and values are stored in. A page is one number for all layers: each
// layer has its own memory of that number. Not thread-safe.
class KvPool {
 public:
  KvPool(Backend& backend, const KvCacheShape& shape, int64_t page_tokens, int64_t pages);
  ~KvPool();  // its sequences must be gone
  KvPool(const KvPool&) = delete;
  KvPool& operator=(const KvPool&) = delete;

  const KvLayer& layer(int64_t i) const { return layers_[size_t(i)]; }
  const KvCacheShape& shape() const { return shape_; }
  int64_t page_tokens() const { return page_tokens_; }
  int64_t pages() const { return pages_; }
  int64_t free_pages() const { return int64_t(free_.size()); }
  // A page that is no sequence's, for rows that fill a batch up. A pool of one page has none.
  std::optional<int32_t> scratch_page() const {
    return pages_ > 1 ? std::optional(int32_t(pages_)) : std::nullopt;
  }
  uint64_t id() const { return id_; }  // of no other pool of the process

  struct Growth {
    KvSequence* sequence;
    int64_t length;
  };
  // Gives each sequence the pages that `length` tokens need, those it has included; all of them or,
  // by KvPoolFull, none. A sequence may stand here once.
  void reserve(std::span<const Growth> growths);

 private:
  friend class KvSequence;

  Backend* backend_;
  KvCacheShape shape_;
  int64_t page_tokens_, pages_;
  uint64_t id_;
  std::byte* memory_ = nullptr;
  std::vector<KvLayer> layers_;
  std::vector<int32_t> free_;  // the next one last
};

// The pages of one sequence and how many tokens they hold. They go back to the pool, which must
// live longer, with the sequence.
class KvSequence {
 public:
  explicit KvSequence(KvPool& pool) : pool_(&pool) {}
  ~KvSequence() { truncate(0); }
  KvSequence(KvSequence&& other) noexcept;
  KvSequence& operator=(KvSequence&&) = delete;

  KvPool& pool() const { return *pool_; }
  std::span<const int32_t> pages() const { return pages_; }
  int64_t length() const { return length_; }  // tokens stored in every layer
  int64_t capacity() const { return int64_t(pages_.size()) * pool_->page_tokens(); }
  // The first `length` tokens stay; pages that hold none of them go back.
  void truncate(int64_t length);
  // `tokens` more are stored, in pages that were reserved.
  void extend(int64_t tokens);

 private:
  friend class KvPool;

  KvPool* pool_;
  std::vector<int32_t> pages_;
  int64_t length_ = 0;
};

}  // namespace emberq
