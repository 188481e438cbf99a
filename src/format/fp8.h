#pragma once

#include <bit>
#include <cstdint>

// FP8 E4M3 ("fn"): 1 sign, 4 exponent (bias 7), 3 mantissa bits; no infinity, 0x7f is NaN, the
// largest value is 448. Rounds to nearest even and saturates, as cvt.rn.satfinite does on the GPU;
// tests/format/fp8_test.cpp holds the two equal.
namespace emberq {

inline constexpr float kFp8Max = 448.0f;
inline constexpr float kFp8MinSubnormal = 0x1p-9f;

constexpr float fp8_decode(uint8_t code) {
  const int exponent = (code >> 3) & 15;
  const int mantissa = code & 7;
  if (exponent == 15 && mantissa == 7) return std::bit_cast<float>(0x7fc00000u);
  const float magnitude =
      exponent == 0
          ? float(mantissa) * kFp8MinSubnormal
          : float(8 + mantissa) * std::bit_cast<float>(uint32_t(exponent - 10 + 127) << 23);
  return (code & 0x80) ? -magnitude : magnitude;
}

constexpr uint8_t fp8_encode(float x) {
  const uint32_t bits = std::bit_cast<uint32_t>(x);
  const uint32_t sign = (bits >> 24) & 0x80;
  const uint32_t magnitude = bits & 0x7fffffff;
  if (magnitude > 0x7f800000) return uint8_t(sign | 0x7f);   // NaN
  if (magnitude >= 0x43e00000) return uint8_t(sign | 0x7e);  // 448 and above saturate
  if (magnitude < 0x3c800000) {                              // below 2^-6: multiples of 2^-9
    const float shifted = std::bit_cast<float>(magnitude) + 0x1p14f;  // the add does the rounding
    return uint8_t(sign | (std::bit_cast<uint32_t>(shifted) & 15));
  }
  const uint32_t rounded = magnitude + 0x7ffff + ((magnitude >> 20) & 1);
  return uint8_t(sign | ((rounded >> 20) - (120 << 3)));
}

// A double as the float that no later rounding to fewer bits can tell from it: inexact values take
// the neighbour whose last bit is 1.
constexpr float round_to_odd(double x) {
  const float nearest = float(x);
  if (double(nearest) == x || x != x) return nearest;
  const uint32_t bits = std::bit_cast<uint32_t>(nearest);
  const bool rounded_up = (x < 0 ? -double(nearest) : double(nearest)) > (x < 0 ? -x : x);
  return std::bit_cast<float>((bits - (rounded_up ? 1 : 0)) | 1);
}

constexpr uint8_t fp8_encode(double x) { return fp8_encode(round_to_odd(x)); }  // rounded once

// The nearest e4m3 value.
constexpr float fp8_round(float x) { return fp8_decode(fp8_encode(x)); }
constexpr float fp8_round(double x) { return fp8_decode(fp8_encode(x)); }

static_assert(fp8_encode(kFp8Max) == 0x7e && fp8_decode(0x7e) == kFp8Max);
static_assert(fp8_encode(17.0f) == fp8_encode(16.0f) &&
              fp8_encode(17.0 + 1e-12) == fp8_encode(18.0));

}  // namespace emberq
