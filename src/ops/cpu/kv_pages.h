#pragma once

#include <algorithm>

#include "format/kv_code.h"
#include "ops/batch.h"

namespace emberq::cpu {

// Keys or values of one head of a sequence at positions [0, length), as floats [length, head_dim].
inline void read_pages(const KvLayer& cache, const void* data, const void* scales,
                       const int32_t* pages, int64_t head, int64_t length, float* to) {
  const int64_t head_dim = cache.head_dim;
  for (int64_t first = 0; first < length; first += cache.page_tokens) {
    const int64_t count = std::min(cache.page_tokens, length - first);
    const int64_t index = cache.index(pages[first / cache.page_tokens], head, 0);
    float* rows = to + first * head_dim;
    if (cache.scheme == KvScheme::kFp) {
      std::copy_n(static_cast<const float*>(data) + index * head_dim, count * head_dim, rows);
      continue;
    }
    with_kv_code(cache.scheme, [&]<class Code>(Code) {
      const auto* codes = static_cast<const uint8_t*>(data) + index * head_dim * Code::kBits / 8;
      const auto* scale = static_cast<const typename Code::Scale*>(scales) + index;
      for (int64_t i = 0; i < count; ++i)
        kv_decode<Code>(codes + i * head_dim * Code::kBits / 8, scale[i],
                        {rows + i * head_dim, size_t(head_dim)});
    });
  }
}

}  // namespace emberq::cpu
