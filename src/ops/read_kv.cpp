#include "ops/read_kv.h"

#include "base/check.h"

namespace emberq {

void check(const ReadKv& op) {
  check(op.batch, op.cache, "read_kv");
  for (const BatchSequence& sequence : op.batch.on_host)
    EMBERQ_CHECK(sequence.kv_length <= op.length, "read_kv: a sequence of {} tokens, room for {}",
                 sequence.kv_length, op.length);
}

Cost cost(const ReadKv& op) {
  double tokens = 0;
  for (const BatchSequence& sequence : op.batch.on_host) tokens += double(sequence.kv_length);
  const double numbers = 2.0 * tokens * double(op.cache.kv_heads * op.cache.head_dim);
  return {.flops = numbers,
          .bytes = numbers * sizeof(float) +
                   tokens * double(op.cache.shape().bytes_per_token(DType::kF32))};
}

}  // namespace emberq
