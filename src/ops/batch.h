#pragma once

#include <cstdint>
#include <span>

#include "ops/kv_layer.h"

namespace emberq {

// One sequence of a batch as the host sees it.
struct BatchSequence {
  int64_t new_tokens = 0;  // rows of the batch
  int64_t kv_length = 0;   // tokens in the cache once the new ones are there
};

// New tokens of several sequences, ragged, over a paged cache. Rows q_begin[s] ... q_begin[s + 1] -
// 1 of every operand belong to sequence s and are its last tokens. Position p of a sequence is slot
// p % page_tokens of page pages[s, p / page_tokens].
struct Batch {
  int64_t tokens = 0;     // rows in all
  int64_t max_pages = 0;  // columns of `pages`
  // In the backend's memory:
  const int32_t* positions = nullptr;  // [tokens], within the row's sequence
  const int32_t* q_begin = nullptr;    // [sequences + 1]
  const int32_t* kv_length = nullptr;  // [sequences]
  const int32_t* pages = nullptr;      // [sequences, max_pages]; past a sequence's last page unread
  // In the host's memory, for checks, costs and launches:
  std::span<const BatchSequence> on_host;

  int64_t sequences() const { return int64_t(on_host.size()); }
};

// Error where a sequence has no new token, more than its cache, or more pages than the batch or the
// layer has.
void check(const Batch& batch, const KvLayer& cache, std::string_view operation);

}  // namespace emberq
