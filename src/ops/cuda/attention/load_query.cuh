#pragma once

#include <cuda_fp8.h>

#include <cstdint>

#include "format/dtype.h"

namespace emberq::cuda {

// Sixteen channels of a query, without its scale.
inline constexpr int kPieceChannels = 16;
__device__ inline void load_query_piece(const void* query, DType type, int64_t at,
                                        float (&x)[kPieceChannels]) {
  if (type == DType::kBF16) {
    const auto* from = reinterpret_cast<const uint4*>(static_cast<const uint16_t*>(query) + at);
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const uint4 v = from[i];
      const uint32_t words[4] = {v.x, v.y, v.z, v.w};
#pragma unroll
      for (int c = 0; c < 8; ++c)
        x[8 * i + c] = __uint_as_float(c % 2 ? words[c / 2] & 0xffff0000u : words[c / 2] << 16);
    }
    return;
  }
  const auto v = *reinterpret_cast<const uint4*>(static_cast<const uint8_t*>(query) + at);
  const uint32_t words[4] = {v.x, v.y, v.z, v.w};
  const bool fp8 = type == DType::kF8E4M3;
#pragma unroll
  for (int c = 0; c < kPieceChannels; c += 2) {
    const uint32_t pair = words[c / 4] >> c % 4 * 8;
    const __half2 values(__nv_cvt_fp8x2_to_halfraw2(__nv_fp8x2_storage_t(pair), __NV_E4M3));
    x[c] = fp8 ? __low2float(values) : float(int8_t(pair));
    x[c + 1] = fp8 ? __high2float(values) : float(int8_t(pair >> 8));
  }
}

}  // namespace emberq::cuda
