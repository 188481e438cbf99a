#pragma once

#include "ops/activations.h"
#include "ops/cost.h"
#include "ops/kv_cache.h"

namespace emberq {

// From the projections of q, k and v to what attention reads, head by head, all in float:
//
//   q, k   <- RMSNorm over the head with q_norm, k_norm (Qwen3), where given
//   q, k   <- RoPE in NeoX order: channel j turns with j + head_dim / 2 by cos, sin[t, j]
//   k      <- k - key_mean, v <- v - value_mean, where given: softmax does not see a constant that
//             all keys share, and Attention adds the values' back
//   q      <- q * query_scale, k <- k * key_scale   (S^-1 and S, fireq.md 3.2), where given
//   q, k   <- hadamard(q), hadamard(k) over the head, where asked for (format/hadamard.h)
//   query   = q rounded to the activation type, or e4m3 or I8 with a scale per (token, head)
//   cache[position + t] = k, v by the cache's scheme (ops/kv_cache.h)
struct RopeAppend {
  Activations q;                  // [tokens, heads * head_dim], not quantized
  Activations k, v;               // [tokens, kv_heads * head_dim], not quantized
  const float* q_norm = nullptr;  // [head_dim] or null
  const float* k_norm = nullptr;
  float eps = 0;
  const float* cos = nullptr;  // [tokens, head_dim / 2]
  const float* sin = nullptr;
  const float* query_scale = nullptr;  // [kv_heads, head_dim] or null; query head h reads row
  const float* key_scale = nullptr;    // h / (heads / kv_heads)
  const float* key_mean = nullptr;     // likewise
  const float* value_mean = nullptr;
  bool hadamard = false;
  int64_t position = 0;  // of the first token
  Activations query;     // [tokens * heads, head_dim]; may be q where not quantized
  KvLayer cache;

  int64_t tokens() const { return q.rows; }
  int64_t heads() const { return q.dim / cache.head_dim; }
};

void check(const RopeAppend& op);
Cost cost(const RopeAppend& op);

}  // namespace emberq
