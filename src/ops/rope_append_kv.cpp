#include "ops/rope_append_kv.h"

#include "base/check.h"
#include "format/hadamard.h"

namespace emberq {

void check(const RopeAppendKv& op) {
  check(op.batch, op.cache, "rope_append_kv");
  const int64_t head_dim = op.cache.head_dim;
  EMBERQ_CHECK(head_dim % 2 == 0 && op.q.dim % head_dim == 0 && op.heads() % op.cache.kv_heads == 0,
               "rope_append_kv: q is [{}, {}] for {} kv heads of {}", op.q.rows, op.q.dim,
               op.cache.kv_heads, head_dim);
  for (const Activations* x : {&op.k, &op.v})
    EMBERQ_CHECK(x->rows == op.q.rows && x->dim == op.cache.kv_heads * head_dim,
                 "rope_append_kv: k or v is [{}, {}] for {} tokens and {} kv heads of {}", x->rows,
                 x->dim, op.q.rows, op.cache.kv_heads, head_dim);
  EMBERQ_CHECK(op.query.rows == op.tokens() * op.heads() && op.query.dim == head_dim,
               "rope_append_kv: query is [{}, {}] for {} tokens, {} heads of {}", op.query.rows,
               op.query.dim, op.tokens(), op.heads(), head_dim);
  EMBERQ_CHECK(op.tokens() == op.batch.tokens, "rope_append_kv: {} rows in a batch of {}",
               op.tokens(), op.batch.tokens);
  check(op.query, "rope_append_kv");
  EMBERQ_CHECK(op.query.group == 0, "rope_append_kv: queries in groups of {}", op.query.group);
}

Cost cost(const RopeAppendKv& op) {
  const double stored = double(op.tokens()) * double(op.cache.shape().bytes_per_token(op.k.dtype));
  // Six for a channel's turn and scale.
  const double per_channel = 6.0 + (op.hadamard ? Hadamard(op.cache.head_dim).operations() : 0.0);
  return {.flops = per_channel * double(op.q.rows * (op.q.dim + op.k.dim)),
          .bytes = double(op.q.bytes() + op.k.bytes() + op.v.bytes() + op.query.bytes()) + stored +
                   4.0 * double(op.tokens() * op.cache.head_dim)};
}

}  // namespace emberq
