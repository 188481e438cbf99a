#include "ops/attention.h"

#include <algorithm>

#include "base/check.h"

namespace emberq {

void check(const Attention& op) {
  EMBERQ_CHECK(op.query.rows == op.tokens() * op.heads() && op.query.dim == op.cache.head_dim &&
                   op.heads() % op.cache.kv_heads == 0,
               "attention: query is [{}, {}], out [{}, {}], for {} kv heads of {}", op.query.rows,
               op.query.dim, op.out.rows, op.out.dim, op.cache.kv_heads, op.cache.head_dim);
  EMBERQ_CHECK(op.position >= 0 && op.position + op.tokens() <= op.cache.capacity,
               "attention: positions {} ... {} in a cache of {}", op.position,
               op.position + op.tokens() - 1, op.cache.capacity);
  check(op.query, "attention");
  EMBERQ_CHECK(op.query.group == 0, "attention: queries in groups of {}", op.query.group);
  EMBERQ_CHECK(!op.out.quantized(), "attention: out may not be quantized");
}

Cost cost(const Attention& op) {
  double keys = 0;  // summed over the tokens
  for (int64_t t = 0; t < op.tokens(); ++t) {
    const int64_t seen = op.position + t + 1;
    keys += double(op.window > 0 ? std::min(op.window, seen) : seen);
  }
  const KvCacheShape shape{op.cache.scheme, 1, op.cache.kv_heads, op.cache.head_dim};
  const double length = double(op.position + op.tokens());
  return {.flops = 4.0 * keys * double(op.heads() * op.cache.head_dim),
          .bytes = double(op.query.bytes() + op.out.bytes()) +
                   length * double(shape.bytes_per_token(op.out.dtype))};
}

}  // namespace emberq
