#include "ops/batch.h"

#include "base/check.h"

namespace emberq {

void check(const Batch& batch, const KvLayer& cache, std::string_view operation) {
  EMBERQ_CHECK(cache.kv_heads > 0 && cache.head_dim > 0 && cache.page_tokens > 0,
               "{}: a cache of {} heads of {} in pages of {} tokens", operation, cache.kv_heads,
               cache.head_dim, cache.page_tokens);
  int64_t tokens = 0;
  for (const BatchSequence& sequence : batch.on_host) {
    tokens += sequence.new_tokens;
    const int64_t pages = pages_for(sequence.kv_length, cache.page_tokens);
    EMBERQ_CHECK(sequence.new_tokens > 0 && sequence.new_tokens <= sequence.kv_length,
                 "{}: a sequence of {} tokens, {} of them new", operation, sequence.kv_length,
                 sequence.new_tokens);
    EMBERQ_CHECK(pages <= batch.max_pages && pages <= cache.pages,
                 "{}: a sequence of {} tokens needs {} pages of {}; the batch lists {}, the cache "
                 "has {}",
                 operation, sequence.kv_length, pages, cache.page_tokens, batch.max_pages,
                 cache.pages);
  }
  EMBERQ_CHECK(tokens > 0 && tokens == batch.tokens, "{}: {} rows for {} new tokens", operation,
               batch.tokens, tokens);
}

}  // namespace emberq
