#pragma once

#include <vector>

#include "format/scheme.h"
#include "ops/activations.h"

namespace emberq {

class Backend;

// One layer's keys and values: a view of a KvCache.
//
//   kFp        [kv_heads, capacity, head_dim] of the backend's activation type, no scales
//   kInt4Head  nibbles q in two's complement; e4m3 scale s = e4m3_scale(absmax, 7); value = q * s
//   kInt4Zero  nibbles q = 0 ... 15; two FP16: s = (max - min) / 15 and min; value = min + q * s
//   kLut4Head  nibbles q (format/lut4.h); BF16 scale s; value = lut4_decode(q) * s
//   kInt8Head  bytes q in two's complement; BF16 scale s = bf16_scale(absmax, 127); value = q * s
//
// Nibbles are [kv_heads, capacity, head_dim / 2] bytes, the even channel in the low one; scales are
// [kv_heads, capacity]; format/kv_code.h says how values become codes. Keys are stored after RoPE,
// the mean's removal, S and Hadamard.
struct KvLayer {
  KvScheme scheme = KvScheme::kFp;
  int64_t kv_heads = 0, capacity = 0, head_dim = 0;
  void* key = nullptr;
  void* value = nullptr;
  void* key_scale = nullptr;  // of kv_scale_bytes(scheme) for each vector
  void* value_scale = nullptr;
};

// Bytes of a vector's codes (for kFp, of the activation type) and of its scale.
size_t kv_code_bytes(KvScheme scheme, int64_t head_dim, DType activation_type);
size_t kv_scale_bytes(KvScheme scheme);

struct KvCacheShape {
  KvScheme scheme = KvScheme::kFp;
  int64_t layers = 0, kv_heads = 0, head_dim = 0;

  // What one token takes in all layers, keys and values, scales included.
  size_t bytes_per_token(DType activation_type) const;
  double bits_per_number(DType activation_type) const;  // likewise
};

// The keys and values of one sequence in all layers.
class KvCache {
 public:
  KvCache(Backend& backend, const KvCacheShape& shape, int64_t capacity);
  ~KvCache();
  KvCache(KvCache&& other) noexcept;
  KvCache& operator=(KvCache&&) = delete;

  const KvLayer& layer(int64_t i) const { return layers_[size_t(i)]; }
  const KvCacheShape& shape() const { return shape_; }
  int64_t capacity() const { return capacity_; }
  int64_t length() const { return length_; }  // tokens stored in every layer
  void set_length(int64_t length) { length_ = length; }

 private:
  Backend* backend_;
  KvCacheShape shape_;
  int64_t capacity_ = 0, length_ = 0;
  std::byte* memory_ = nullptr;
  std::vector<KvLayer> layers_;
};

}  // namespace emberq
