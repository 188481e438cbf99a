#pragma once

#include "ops/activations.h"
#include "ops/batch.h"
#include "ops/cost.h"

namespace emberq {

// Causal attention of a batch's new tokens over the cache, which holds them already: a token at
// position p of its sequence reads that sequence's keys 0 ... p, or the last `window` of those.
//
//   s[i] = scale * sum_c q[c] * k[i, c],  p = softmax(s),  out[c] = sum_i p[i] * v[i, c]
//
// q, k and v are the stored values (codes times scales); everything else in float, out rounded
// once. `probability` rounds e[i] = exp(s[i] - max s), which is in (0, 1], before the product with
// v: out = sum_i round(e[i]) * v[i] / sum_i e[i], the sum over what was not rounded. `value_mean`,
// which RopeAppendKv took off, is added at the end.
struct Attention {
  Activations query;  // [tokens * heads, head_dim]
  Batch batch;
  KvLayer cache;
  int64_t window = 0;  // 0: all
  float scale = 0;     // 1 / sqrt(head_dim)
  ProbabilityScheme probability = ProbabilityScheme::kNone;
  const float* value_mean = nullptr;  // [kv_heads, head_dim] or null
  Activations out;                    // [tokens, heads * head_dim], not quantized

  int64_t tokens() const { return out.rows; }
  int64_t heads() const { return out.dim / cache.head_dim; }
};

void check(const Attention& op);
Cost cost(const Attention& op);

}  // namespace emberq
