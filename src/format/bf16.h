#pragma once

#include <bit>
#include <cstdint>

namespace emberq {

// The upper half of a float; the same bits as __nv_bfloat16.
struct bf16 {
  uint16_t bits;

  constexpr float to_float() const { return std::bit_cast<float>(uint32_t(bits) << 16); }

  static constexpr bf16 from_float(float x) {  // round to nearest even
    const uint32_t u = std::bit_cast<uint32_t>(x);
    if ((u & 0x7fffffff) > 0x7f800000) return {uint16_t((u >> 16) | 64)};  // keep NaN quiet
    return {uint16_t((u + 0x7fff + ((u >> 16) & 1)) >> 16)};
  }
};

static_assert(bf16::from_float(1.0f).bits == 0x3f80);

}  // namespace emberq
