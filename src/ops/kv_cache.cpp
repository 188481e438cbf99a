#include "ops/kv_cache.h"

#include <utility>

#include "base/check.h"
#include "format/kv_code.h"
#include "ops/backend.h"

namespace emberq {
namespace {

constexpr size_t kAlignment = 64;

size_t aligned(size_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }

}  // namespace

size_t kv_code_bytes(KvScheme scheme, int64_t head_dim, DType activation_type) {
  if (scheme == KvScheme::kFp) return size_t(head_dim) * size_bytes(activation_type);
  return with_kv_code(scheme,
                      [&]<class Code>(Code) { return size_t(head_dim) * size_t(Code::kBits) / 8; });
}

size_t kv_scale_bytes(KvScheme scheme) {
  if (scheme == KvScheme::kFp) return 0;
  return with_kv_code(scheme, []<class Code>(Code) { return sizeof(typename Code::Scale); });
}

size_t KvCacheShape::bytes_per_token(DType activation_type) const {
  return 2 * size_t(layers * kv_heads) *
         (kv_code_bytes(scheme, head_dim, activation_type) + kv_scale_bytes(scheme));
}

double KvCacheShape::bits_per_number(DType activation_type) const {
  return 8 * double(bytes_per_token(activation_type)) / double(2 * layers * kv_heads * head_dim);
}

KvCache::KvCache(Backend& backend, const KvCacheShape& shape, int64_t capacity)
    : backend_(&backend), shape_(shape), capacity_(capacity) {
  EMBERQ_CHECK(capacity > 0 && shape.head_dim % 2 == 0, "kv cache: {} tokens, heads of {}",
               capacity, shape.head_dim);
  const size_t vectors = size_t(shape.kv_heads * capacity);
  const size_t codes =
      aligned(vectors * kv_code_bytes(shape.scheme, shape.head_dim, backend.activation_type()));
  const size_t scales = aligned(vectors * kv_scale_bytes(shape.scheme));
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
                       .key_scale = take(scales),
                       .value_scale = take(scales)});
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
