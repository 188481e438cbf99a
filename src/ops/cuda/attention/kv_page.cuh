#pragma once

#include <cuda_bf16.h>

#include <cstdint>
#include <type_traits>

#include "format/bf16.h"
#include "format/kv_code.h"
#include "ops/kv_layer.h"

// The order of a page on this backend: vectors as KvLayer::index() counts them, each a row of its
// codes, the even channel in the low nibble. Within a row the chunks of 16 bytes are exchanged by
// the slot's number, so that eight rows of one chunk lie in different banks of shared memory:
//
//   bytes of a row     64                     32                     128 and multiples
//   chunk c of slot s  c ^ (s / 2 % 4)        c ^ (s / 4 % 2)        c ^ (s % 8)
//
// Rows of other lengths, as 48 bytes, are as they are.
namespace emberq::cuda {

// Numbers as they are computed: what KvScheme::kFp stores on this backend.
struct KvBf16 {
  static constexpr int kBits = 16;
};

// Calls visit(Code()) with the struct of `scheme`.
template <class Visit>
auto with_stored(KvScheme scheme, const Visit& visit) {
  if (scheme == KvScheme::kFp) return visit(KvBf16());
  return with_kv_code(scheme, visit);
}

// The same for who only reads: codes over two ranges are read alike.
template <class Visit>
auto with_read(KvScheme scheme, const Visit& visit) {
  return with_stored(
      scheme == KvScheme::kInt4AsymMse ? KvScheme::kInt4Asym : scheme, [&]<class Code>(Code) {
        using Read = std::conditional_t<std::is_same_v<Code, KvInt4AsymMse>, KvInt4Asym, Code>;
        return visit(Read());
      });
}

template <class Code>
inline constexpr bool kHasScale = !std::is_same_v<Code, KvBf16>;

// What the chunk's number in a row of `row_bytes` is exchanged by.
__host__ __device__ constexpr int chunk_exchange(int row_bytes, int slot) {
  if (row_bytes == 32) return slot / 4 % 2;
  if (row_bytes == 64) return slot / 2 % 4;
  return row_bytes % 128 == 0 ? slot % 8 : 0;
}
// The byte of a row that holds byte `at` of the vector in `slot`.
__host__ __device__ constexpr int exchanged(int row_bytes, int slot, int at) {
  return at ^ chunk_exchange(row_bytes, slot) * 16;
}

// A key or a value of one head: its place in the cache.
struct KvVector {
  int64_t index;  // KvLayer::index()
  int slot;       // in its page

  __device__ static KvVector of(const KvLayer& cache, const int32_t* pages, int head,
                                int position) {
    const int page_tokens = int(cache.page_tokens), slot = position % page_tokens;
    return {cache.index(pages[position / page_tokens], head, slot), slot};
  }
};

// One channel of a stored vector, as a number.
template <class Code>
__device__ float load_channel(const void* codes, const void* scales, int head_dim,
                              const KvVector& vector, int channel) {
  const int row_bytes = head_dim * Code::kBits / 8;
  const auto* row = static_cast<const uint8_t*>(codes) + vector.index * row_bytes;
  const uint8_t* at = row + exchanged(row_bytes, vector.slot, channel * Code::kBits / 8);
  if constexpr (!kHasScale<Code>) {
    return __bfloat162float(*reinterpret_cast<const __nv_bfloat16*>(at));
  } else {
    const auto scale = static_cast<const typename Code::Scale*>(scales)[vector.index];
    const int code = Code::kBits == 4 ? *at >> channel % 2 * 4 & 15 : *at;
    return Code::decode(uint8_t(code), scale);
  }
}

}  // namespace emberq::cuda
