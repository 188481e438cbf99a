#pragma once

#include <array>
#include <span>

#include "format/fp8.h"
#include "format/lut4.h"
#include "format/scheme.h"

// What a weight's stored code stands for, before its scale. Stored is what format/pack.h packs, a
// number u of 0 ... 2^bits - 1:
//
//   kInt    u - 2^(bits-1)
//   kLut    lut4_decode(u)
//   kFloat  6 bits: sign, two bits of exponent with bias 1, three of mantissa (e2m3): 0 ... 0.875
//           by eighths, then up to 7.5; 8 bits: e4m3
namespace emberq {

constexpr float e2m3_decode(uint8_t code) {
  const int exponent = code >> 3 & 3, mantissa = code & 7;
  const float magnitude =
      exponent == 0 ? float(mantissa) / 8 : float(8 + mantissa) / 8 * float(1 << (exponent - 1));
  return code & 32 ? -magnitude : magnitude;
}
inline constexpr float kE2m3Max = 7.5f;

constexpr float weight_code_value(const WeightScheme& scheme, int u) {
  switch (scheme.code) {
    case WeightCode::kLut:
      return lut4_decode(uint8_t(u));
    case WeightCode::kFloat:
      return scheme.bits == 6 ? e2m3_decode(uint8_t(u)) : fp8_decode(uint8_t(u));
    default:
      return float(u - (1 << (scheme.bits - 1)));
  }
}

// The magnitude that a group's largest weight takes: 7, 31, 127; 224; 7.5, 448.
constexpr float weight_code_max(const WeightScheme& scheme) {
  switch (scheme.code) {
    case WeightCode::kLut:
      return kLut4Max;
    case WeightCode::kFloat:
      return scheme.bits == 6 ? kE2m3Max : kFp8Max;
    default:
      return float((1 << (scheme.bits - 1)) - 1);
  }
}

// The value of a weight. kExact: code * scale. kE4m3: the product code * scale * global_scale,
// rounded to e4m3, over global_scale. `code` is weight_code_value(), less the zero point.
constexpr uint8_t dequantize_to_e4m3(float code, float scale, float global_scale) {
  return fp8_encode(code * scale * global_scale);
}
constexpr float dequantize(Dequant dequant, float code, float scale, float global_scale) {
  return dequant == Dequant::kE4m3
             ? fp8_decode(dequantize_to_e4m3(code, scale, global_scale)) / global_scale
             : code * scale;
}
constexpr float dequantize(const WeightScheme& scheme, int stored, int zero, float scale,
                           float global_scale) {
  return dequantize(scheme.dequant, weight_code_value(scheme, stored) - float(zero), scale,
                    global_scale);
}

}  // namespace emberq
