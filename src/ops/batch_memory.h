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

// The arrays of a Batch, on the host and in a backend's memory.
class BatchMemory {
 public:
  explicit BatchMemory(Backend& backend) : backend_(&backend) {}

  // Valid until the next call. Operations that read the last batch must have been started.
  const Batch& set(std::span<const BatchEntry> entries);
  const Batch& batch() const { return batch_; }

 private:
  Backend* backend_;
  Buffer memory_;
  size_t capacity_ = 0;          // of memory_, in numbers
  std::vector<int32_t> packed_;  // positions, q_begin, kv_length, pages
  std::vector<BatchSequence> on_host_;
  Batch batch_;
};

}  // namespace emberq
