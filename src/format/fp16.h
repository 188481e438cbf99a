#pragma once

#include <bit>
#include <cstdint>

namespace emberq {

// IEEE binary16: 1 sign, 5 exponent (bias 15), 10 mantissa bits; the same bits as __half.
struct fp16 {
  uint16_t bits;

  constexpr float to_float() const {
    const uint32_t sign = uint32_t(bits & 0x8000) << 16;
    const uint32_t magnitude = bits & 0x7fff;
    if (magnitude >= 0x7c00)  // infinity, NaN
      return std::bit_cast<float>(sign | 0x7f800000 | ((magnitude & 0x3ff) << 13));
    if (magnitude < 0x400) {  // zero and subnormals: multiples of 2^-24
      const float value = float(magnitude) * 0x1p-24f;
      return sign ? -value : value;
    }
    return std::bit_cast<float>(sign | ((magnitude << 13) + ((127 - 15) << 23)));
  }

  // Round to nearest even; overflows to infinity.
  static constexpr fp16 from_float(float x) {
    const uint32_t u = std::bit_cast<uint32_t>(x);
    const uint16_t sign = uint16_t((u >> 16) & 0x8000);
    const uint32_t magnitude = u & 0x7fffffff;
    if (magnitude > 0x7f800000) return {uint16_t(sign | 0x7e00)};   // NaN
    if (magnitude >= 0x477ff000) return {uint16_t(sign | 0x7c00)};  // 65520 and above
    if (magnitude < 0x38800000) {                                   // below 2^-14
      const float shifted =
          std::bit_cast<float>(magnitude) + 0x0.8p0f;  // the add does the rounding
      return {uint16_t(sign | (std::bit_cast<uint32_t>(shifted) & 0x7ff))};
    }
    const uint32_t rounded = magnitude + 0xfff + ((magnitude >> 13) & 1);
    return {uint16_t(sign | ((rounded - ((127 - 15) << 23)) >> 13))};
  }
};

static_assert(fp16::from_float(1.0f).bits == 0x3c00 && fp16::from_float(65504.0f).bits == 0x7bff);

}  // namespace emberq
