#pragma once

#include <bit>
#include <cstdint>
#include <type_traits>

#include "format/bf16.h"
#include "format/fp8.h"
#include "format/int4.h"

// From a block's largest magnitude to its scale, and through a scale to codes: each rule once.
//
// quantize() takes the scale type that is stored, so the scale that is divided by is always the one
// that dequantize() multiplies by. T is double where the quantizer works on merged weights and
// float where a kernel works on activations.
namespace emberq {

// Round half to even, for |x| < 2^22 (float) or 2^51 (double).
template <class T>
constexpr T round_half_even(T x) {
  constexpr T kShift = std::is_same_v<T, float> ? T(0x1.8p23) : T(0x1.8p52);
  return (x + kShift) - kShift;
}

// An e4m3 scale: positive, at least 2^-9, at most 448.
struct E4m3Scale {
  uint8_t code;
  constexpr float value() const { return fp8_decode(code); }
};

// RNE_e4m3(absmax / code_max), floored at the smallest e4m3 number.
template <class T>
constexpr E4m3Scale e4m3_scale(T absmax, int code_max) {
  const uint8_t code = fp8_encode(absmax / T(code_max));
  return {code == 0 ? uint8_t(1) : code};
}

// A BF16 scale: positive. A block of zeros takes the scale of the magnitude 1e-5.
struct Bf16Scale {
  bf16 stored;
  constexpr float value() const { return stored.to_float(); }
};

inline constexpr double kLeastAbsmax = 1e-5;

// RNE_bf16(absmax / code_max)
constexpr Bf16Scale bf16_scale(double absmax, int code_max) {
  const double scale = (absmax > kLeastAbsmax ? absmax : kLeastAbsmax) / code_max;
  return {bf16::from_float(round_to_odd(scale))};
}

// clamp(round_half_even(x / scale), kMin, kMax). NaN has no code; callers refuse it before.
template <class Code, class T>
constexpr int quantize_by(T x, T scale) {
  T q = x / scale;
  if (q < T(Code::kMin)) q = T(Code::kMin);
  if (q > T(Code::kMax)) q = T(Code::kMax);
  return int(round_half_even(q));
}
// By a scale as it is stored.
template <class Code, class T, class StoredScale>
constexpr int quantize(T x, StoredScale scale) {
  return quantize_by<Code>(x, T(scale.value()));
}

// A code's value where the *product* is kept in e4m3, as a kernel that looks it up in a table of
// e4m3 numbers sees it (FireQ): exact for |code| in {0, 1, 2, 4, 8} while code * scale stays in
// range.
constexpr uint8_t e4m3_product(int code, E4m3Scale scale) {
  return fp8_encode(float(code) * scale.value());
}

// FP8 activations: scale = absmax / 448, kept in FP32; 1 for a row of zeros, and for one so near to
// zero (below 2^-141) that its scale would be zero.
constexpr float fp8_row_scale(float absmax) {
  const float scale = absmax / kFp8Max;
  return scale > 0 ? scale : 1.0f;
}
constexpr uint8_t fp8_quantize(float x, float scale) { return fp8_encode(x / scale); }

// INT8 and INT6 activations: scale = absmax / code_max, kept in FP32; 1 where that is zero.
constexpr float int_row_scale(float absmax, int code_max) {
  const float scale = absmax / float(code_max);
  return scale > 0 ? scale : 1.0f;
}
constexpr int8_t int_quantize(float x, float scale, int code_max) {
  float q = x / scale;
  if (q < float(-code_max - 1)) q = float(-code_max - 1);
  if (q > float(code_max)) q = float(code_max);
  return int8_t(round_half_even(q));
}

}  // namespace emberq
