#include "ops/kv_layer.h"

#include "format/kv_code.h"

namespace emberq {

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

}  // namespace emberq
