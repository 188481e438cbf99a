#include "ops/read_kv.h"

#include "base/parallel.h"
#include "ops/cpu/cpu_backend.h"
#include "ops/cpu/kv_pages.h"

namespace emberq::cpu {

void read_kv(const ReadKv& op) {
  const KvLayer& cache = op.cache;
  parallel_for(0, op.batch.sequences() * cache.kv_heads, [&](int64_t i) {
    const int64_t sequence = i / cache.kv_heads, head = i % cache.kv_heads;
    const int32_t* pages = op.batch.pages + sequence * op.batch.max_pages;
    const int64_t length = op.batch.on_host[size_t(sequence)].kv_length;
    const int64_t at = i * op.length * cache.head_dim;
    read_pages(cache, cache.key, cache.key_scale, pages, head, length, op.key + at);
    read_pages(cache, cache.value, cache.value_scale, pages, head, length, op.value + at);
  });
}

}  // namespace emberq::cpu
