#pragma once

#include <bit>
#include <cstdint>

namespace emberq::cpu {

// x >= 0 rounded to the nearest number of `kFraction` bits of fraction, ties to even, whose
// subnormals begin below 2^kLeast, in straight-line code that vectorizes. It knows no largest
// number.
template <int kFraction, int kLeast>
inline float round_to_format(float x) {
  constexpr int kDropped = 23 - kFraction;
  constexpr float kNormal = std::bit_cast<float>(uint32_t(kLeast + 127) << 23);
  constexpr float kShift = std::bit_cast<float>(uint32_t(kLeast + kDropped + 127) << 23);
  const uint32_t bits = std::bit_cast<uint32_t>(x);
  const uint32_t rounded = bits + (1u << (kDropped - 1)) - 1 + (bits >> kDropped & 1);
  const float normal = std::bit_cast<float>(rounded >> kDropped << kDropped);
  const float subnormal = (x + kShift) - kShift;  // the add does the rounding
  return x < kNormal ? subnormal : normal;
}

inline float round_to_e4m3(float x) { return round_to_format<3, -6>(x); }    // 0 <= x <= 448
inline float round_to_fp16(float x) { return round_to_format<10, -14>(x); }  // 0 <= x <= 65504

}  // namespace emberq::cpu
