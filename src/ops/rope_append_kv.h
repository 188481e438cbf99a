#pragma once

#include "ops/activations.h"
#include "ops/batch.h"
#include "ops/cost.h"

namespace emberq {

// From the projections of q, k and v to what attention reads, head by head, all in float:
//
//   q, k   <- RMSNorm over the head with q_norm, k_norm (Qwen3), where given
//   q, k   <- RoPE in NeoX order: channel j turns with j + head_dim / 2 by cos, sin[position, j]
//   k      <- k - key_mean, v <- v - value_mean, where given: softmax does not see a constant that
//             all keys share, and Attention adds the values' back
//   q      <- q * query_scale, k <- k * key_scale, where given: S^-1 and S (FireQ, post-RoPE scale)
//   q, k   <- hadamard(q), hadamard(k) over the head, where asked for (format/hadamard.h)
//   query   = q rounded to the activation type, or e4m3 or I8 with a scale per (token, head)
//   k, v go to the slots of their positions, by the cache's scheme (ops/kv_layer.h)
//
// Each step is rounded in one way, RoPE as fma(a, cos, -(b sin)) and fma(b, cos, a sin): every
// backend gives the same codes, but for the sum of a norm, which is made in double.
struct RopeAppendKv {
  Activations q;     // [tokens, heads * head_dim], not quantized
  Activations k, v;  // [tokens, kv_heads * head_dim], not quantized
  // Numbers from a token's q, k or v to the next token's, where it is a part of longer rows; 0: it
  // is a matrix by itself.
  int64_t q_stride = 0, k_stride = 0, v_stride = 0;
  const float* q_norm = nullptr;  // [head_dim] or null
  const float* k_norm = nullptr;
  float eps = 0;
  const float* cos = nullptr;  // [positions, head_dim / 2], as many as the longest sequence has
  const float* sin = nullptr;
  const float* query_scale = nullptr;  // [kv_heads, head_dim] or null; query head h reads row
  const float* key_scale = nullptr;    // h / (heads / kv_heads)
  const float* key_mean = nullptr;     // [kv_heads, head_dim] or null
  const float* value_mean = nullptr;
  bool hadamard = false;
  Activations
      query;  // [tokens * heads, head_dim]; may be q where neither quantized nor part of rows
  Batch batch;
  KvLayer cache;

  int64_t tokens() const { return q.rows; }
  int64_t heads() const { return q.dim / cache.head_dim; }
};

void check(const RopeAppendKv& op);
Cost cost(const RopeAppendKv& op);

}  // namespace emberq
