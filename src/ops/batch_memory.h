#pragma once

#include <span>
#include <vector>

#include "ops/backend.h"
#include "ops/kv_pool.h"

namespace emberq {

// A sequence's part in a batch: `new_tokens` rows, which follow what it holds. Its pages are
// reserved.
struct BatchEntry {
  int64_t new_tokens = 0;
  const KvSequence* sequence = nullptr;
};

// Rows behind a batch's entries, to make it one of a few sizes: each is the first token of a
// sequence of its own in `page`, which nobody reads.
struct BatchPadding {
  int64_t rows = 0;
  int32_t page = 0;
  int64_t max_pages = 0;  // Batch::max_pages is at least this
};

// The arrays of a Batch, on the host and in a backend's memory.
class BatchMemory {
 public:
  explicit BatchMemory(Backend& backend) : backend_(&backend) {}

  // Valid until the next call. Operations that read the last batch must have been started. Batches
  // of as many rows, sequences and max_pages lie at the same addresses, as long as moves() is the
  // same.
  const Batch& set(std::span<const BatchEntry> entries, const BatchPadding& padding = {});
  const Batch& batch() const { return batch_; }
  int64_t moves() const { return moves_; }

 private:
  Backend* backend_;
  Buffer memory_;
  size_t capacity_ = 0;  // of memory_, in numbers
  int64_t moves_ = 0;
  std::vector<int32_t> packed_;  // positions, q_begin, kv_length, pages
  std::vector<BatchSequence> on_host_;
  Batch batch_;
};

}  // namespace emberq
