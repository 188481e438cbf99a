#pragma once

#include <vector>

#include "format/scheme.h"
#include "ops/activations.h"

namespace emberq {

class Backend;

// One layer's keys and values: a view of a KvCache.
//
//   kFp        key, value: [kv_heads, capacity, head_dim] of the backend's activation type
//   kInt4Head  key, value: [kv_heads, capacity, head_dim / 2] bytes, the even channel in the low
//   nibble,
//              two's complement; scales: [kv_heads, capacity] e4m3. Value = code * scale.
//
// Keys are stored after RoPE and after S.
struct KvLayer {
  KvScheme scheme = KvScheme::kFp;
  int64_t kv_heads = 0, capacity = 0, head_dim = 0;
  void* key = nullptr;
  void* value = nullptr;
  uint8_t* key_scale = nullptr;
  uint8_t* value_scale = nullptr;
};

struct KvCacheShape {
  KvScheme scheme = KvScheme::kFp;
  int64_t layers = 0, kv_heads = 0, head_dim = 0;

  // What one token takes in all layers, keys and values, scales included.
  size_t bytes_per_token(DType activation_type) const;
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
