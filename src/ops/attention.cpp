#include "ops/attention.h"

#include <algorithm>

#include "base/check.h"

namespace emberq {

void check(const Attention& op) {
  check(op.batch, op.cache, "attention");
  EMBERQ_CHECK(op.query.rows == op.tokens() * op.heads() && op.query.dim == op.cache.head_dim &&
                   op.heads() % op.cache.kv_heads == 0,
               "attention: query is [{}, {}], out [{}, {}], for {} kv heads of {}", op.query.rows,
               op.query.dim, op.out.rows, op.out.dim, op.cache.kv_heads, op.cache.head_dim);
  EMBERQ_CHECK(op.tokens() == op.batch.tokens, "attention: {} rows in a batch of {}", op.tokens(),
               op.batch.tokens);
  check(op.query, "attention");
  EMBERQ_CHECK(op.query.group == 0, "attention: queries in groups of {}", op.query.group);
  EMBERQ_CHECK(!op.out.quantized(), "attention: out may not be quantized");
}

Cost cost(const Attention& op) {
  double keys = 0, stored = 0;  // that tokens read, and that the sequences have
  for (const BatchSequence& sequence : op.batch.on_host) {
    stored += double(sequence.kv_length);
    for (int64_t t = sequence.new_tokens; t-- > 0;) {
      const int64_t seen = sequence.kv_length - t;
      keys += double(op.window > 0 ? std::min(op.window, seen) : seen);
    }
  }
  return {.flops = 4.0 * keys * double(op.heads() * op.cache.head_dim),
          .bytes = double(op.query.bytes() + op.out.bytes()) +
                   stored * double(op.cache.shape().bytes_per_token(op.out.dtype))};
}

}  // namespace emberq
