#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "format/dtype.h"
#include "format/scheme.h"

namespace emberq {

// Bytes of a vector's codes (for kFp, of the activation type) and of its scale.
size_t kv_code_bytes(KvScheme scheme, int64_t head_dim, DType activation_type);
size_t kv_scale_bytes(KvScheme scheme);

struct KvCacheShape {
  KvScheme scheme = KvScheme::kFp;
  int64_t layers = 0, kv_heads = 0, head_dim = 0;

  // What one token takes in all layers, keys and values, scales included.
  size_t bytes_per_token(DType activation_type) const;
  double bits_per_number(DType activation_type) const;  // the same for each number, in bits
};

// Pages that so many tokens of a sequence fill or begin.
constexpr int64_t pages_for(int64_t tokens, int64_t page_tokens) {
  return (tokens + page_tokens - 1) / page_tokens;
}

// One layer's keys and values in a paged cache: a view of a KvPool.
//
//   kFp        the backend's activation type, no scales
//   kInt4Head  nibbles q in two's complement; e4m3 scale s = e4m3_scale(absmax, 7); value = q * s
//   kInt4Asym  nibbles q = 0 ... 15; two FP16: s = (max - min) / 15 and min; value = min + q * s
//   kInt4AsymMse  as kInt4Asym, s and min chosen by least squared error
//   kLut4Head  nibbles q (format/lut4.h); BF16 scale s; value = lut4_decode(q) * s
//   kInt8Head  bytes q in two's complement; BF16 scale s = bf16_scale(absmax, 127); value = q * s
//
// A vector is a key or a value of one head and token; format/kv_code.h says how it becomes codes. A
// page holds the codes of [kv_heads, page_tokens, head_dim] and the scales of [kv_heads,
// page_tokens]. The CPU keeps them in that order, the even channel in the low nibble; another
// backend may order a page otherwise, so only operations read or write one. Keys are stored after
// RoPE, the mean's removal, S and Hadamard (ops/rope_append_kv.h).
struct KvLayer {
  KvScheme scheme = KvScheme::kFp;
  int64_t kv_heads = 0, head_dim = 0;
  int64_t page_tokens = 0, pages = 0;
  void* key = nullptr;  // [pages] pages of codes
  void* value = nullptr;
  void* key_scale = nullptr;  // [pages] pages of scales, kv_scale_bytes(scheme) for each vector
  void* value_scale = nullptr;

  KvCacheShape shape() const { return {scheme, 1, kv_heads, head_dim}; }
  // The index of a vector in the CPU's order.
  constexpr int64_t index(int64_t page, int64_t head, int64_t slot) const {
    return (page * kv_heads + head) * page_tokens + slot;
  }
};

}  // namespace emberq
