#include "ops/kv_cache.h"

#include <utility>

#include "base/check.h"
#include "ops/backend.h"

namespace emberq {
namespace {

constexpr size_t kAlignment = 64;

size_t aligned(size_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }

// Bytes of one head's key (or value) vector, and of its scale.
size_t vector_bytes(const KvCacheShape& shape, DType type) {
  return shape.scheme == KvScheme::kInt4Head ? size_t(shape.head_dim) / 2
                                             : size_t(shape.head_dim) * size_bytes(type);
}
size_t scale_bytes(const KvCacheShape& shape) {
  return shape.scheme == KvScheme::kInt4Head ? 1 : 0;
}

}  // namespace

size_t KvCacheShape::bytes_per_token(DType activation_type) const {
  return 2 * size_t(layers * kv_heads) *
         (vector_bytes(*this, activation_type) + scale_bytes(*this));
}

KvCache::KvCache(Backend& backend, const KvCacheShape& shape, int64_t capacity)
    : backend_(&backend), shape_(shape), capacity_(capacity) {
  EMBERQ_CHECK(capacity > 0 && shape.head_dim % 2 == 0, "kv cache: {} tokens, heads of {}",
               capacity, shape.head_dim);
  const size_t vectors = size_t(shape.kv_heads * capacity);
  const size_t codes = aligned(vectors * vector_bytes(shape, backend.activation_type()));
  const size_t scales = aligned(vectors * scale_bytes(shape));
  memory_ = static_cast<std::byte*>(backend.allocate(size_t(shape.layers) * 2 * (codes + scales)));
  std::byte* next = memory_;
  const auto take = [&](size_t bytes) { return std::exchange(next, next + bytes); };
  for (int64_t i = 0; i < shape.layers; ++i)
    layers_.push_back({.scheme = shape.scheme,
                       .kv_heads = shape.kv_heads,
                       .capacity = capacity,
                       .head_dim = shape.head_dim,
                       .key = take(codes),
                       .value = take(codes),
                       .key_scale = reinterpret_cast<uint8_t*>(take(scales)),
                       .value_scale = reinterpret_cast<uint8_t*>(take(scales))});
}

KvCache::~KvCache() {
  if (memory_) backend_->release(memory_);
}

KvCache::KvCache(KvCache&& other) noexcept
    : backend_(other.backend_),
      shape_(other.shape_),
      capacity_(other.capacity_),
      length_(other.length_),
      memory_(std::exchange(other.memory_, nullptr)),
      layers_(std::move(other.layers_)) {}

}  // namespace emberq
