#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <span>

#include "base/error.h"
#include "format/fp16.h"
#include "format/lut4.h"
#include "format/scale.h"
#include "format/scheme.h"

// From a head's vector (one token's K or V) to its codes and scale and back, for each KvScheme: the
// one place that says it. A scheme is a struct with
//
//   kBits                  of a code: 4, two in a byte with the even channel in the low half, or 8
//   Scale                  what is stored for a vector beside its codes
//   scale_of(x)            the vector's scale
//   encode(x, scale)       a value's code in the low kBits
//   decode(code, scale)    a code's value: exact but for kInt4Asym, which rounds its sum to float
//
// all in float. NaN has no code; callers refuse it before.
namespace emberq {

inline float largest_magnitude(std::span<const float> x) {
  float absmax = 0;
#pragma omp simd reduction(max : absmax)
  for (size_t i = 0; i < x.size(); ++i) absmax = std::max(absmax, std::fabs(x[i]));
  return absmax;
}

// kInt4Head: q = clamp(round_half_even(x / s), -8, 7), s = e4m3_scale(absmax, 7).
struct KvInt4Head {
  static constexpr int kBits = 4;
  using Scale = E4m3Scale;
  static Scale scale_of(std::span<const float> x) {
    return e4m3_scale(largest_magnitude(x), Int4::kMax);
  }
  static constexpr uint8_t encode(float x, Scale scale) {
    return int4_encode(quantize<Int4>(x, scale));
  }
  static constexpr float decode(uint8_t code, Scale scale) {
    return float(int4_decode(code)) * scale.value();
  }
};

// kInt4Asym: q = clamp(round_half_even((x - min) / scale), 0, 15), value = min + q * scale, with
// scale = RNE_fp16((max - min) / 15) and min as stored. A vector whose scale would be zero, as a
// constant one's, has scale 1; what FP16 cannot hold saturates at 65504.
struct ZeroScale {
  fp16 scale, min;
};
static_assert(sizeof(ZeroScale) == 4);

constexpr fp16 fp16_saturated(float x) {
  return fp16::from_float(std::clamp(x, -65504.f, 65504.f));
}

struct KvInt4Zero {
  static constexpr int kBits = 4, kMax = 15;
  using Scale = ZeroScale;
  static Scale scale_of(std::span<const float> x) {
    float low = x[0], high = x[0];
#pragma omp simd reduction(min : low) reduction(max : high)
    for (size_t i = 0; i < x.size(); ++i) low = std::min(low, x[i]), high = std::max(high, x[i]);
    const fp16 scale = fp16_saturated((high - low) / float(kMax));
    return {scale.bits == 0 ? fp16::from_float(1) : scale, fp16_saturated(low)};
  }
  static constexpr uint8_t encode(float x, Scale scale) {
    const float q = (x - scale.min.to_float()) / scale.scale.to_float();
    return uint8_t(round_half_even(std::clamp(q, 0.0f, float(kMax))));
  }
  static constexpr float decode(uint8_t code, Scale scale) {
    return scale.min.to_float() + float(code) * scale.scale.to_float();
  }
};

// kLut4Head: the scale is bf16_scale(absmax * c, 224) for the c among these that has the least
// squared error over the vector; of equal ones the first. A kernel tries them on values it holds in
// registers.
inline constexpr std::array<float, 8> kLut4ScaleSearch = {1.0f, 1.1f,  1.05f, 0.95f,
                                                          0.9f, 0.85f, 0.8f,  0.75f};

struct KvLut4Head {
  static constexpr int kBits = 4;
  using Scale = Bf16Scale;
  // The errors are float sums in channel order, each square added by one fused rounding. The
  // candidates are the lanes of a vector, so that the order costs nothing.
  static Scale scale_of(std::span<const float> x) {
    constexpr size_t kCandidates = kLut4ScaleSearch.size();
    const double absmax = double(largest_magnitude(x));
    std::array<Scale, kCandidates> scales;
    std::array<float, kCandidates> values, errors{};
    for (size_t i = 0; i < kCandidates; ++i) {
      scales[i] = bf16_scale(absmax * double(kLut4ScaleSearch[i]), int(kLut4Max));
      values[i] = scales[i].value();
    }
    for (const float value : x) {
#pragma omp simd
      for (size_t i = 0; i < kCandidates; ++i) {
        const float error = value - lut4_round(value / values[i]) * values[i];
        errors[i] = std::fma(error, error, errors[i]);
      }
    }
    return scales[size_t(std::min_element(errors.begin(), errors.end()) - errors.begin())];
  }
  static constexpr uint8_t encode(float x, Scale scale) { return lut4_encode(x / scale.value()); }
  static constexpr float decode(uint8_t code, Scale scale) {
    return lut4_decode(code) * scale.value();
  }
};

// kInt8Head: q = clamp(round_half_even(x / s), -127, 127), s = bf16_scale(absmax, 127).
struct KvInt8Head {
  static constexpr int kBits = 8, kMin = -127, kMax = 127;
  using Scale = Bf16Scale;
  static Scale scale_of(std::span<const float> x) {
    return bf16_scale(double(largest_magnitude(x)), kMax);
  }
  static constexpr uint8_t encode(float x, Scale scale) {
    return uint8_t(quantize<KvInt8Head>(x, scale));
  }
  static constexpr float decode(uint8_t code, Scale scale) {
    return float(int8_t(code)) * scale.value();
  }
};

// visit(Code()) with the struct above that `scheme` names; kFp has none.
template <class Visit>
auto with_kv_code(KvScheme scheme, const Visit& visit) {
  switch (scheme) {
    case KvScheme::kInt4Head:
      return visit(KvInt4Head());
    case KvScheme::kInt4Asym:
      return visit(KvInt4Zero());
    case KvScheme::kLut4Head:
      return visit(KvLut4Head());
    case KvScheme::kInt8Head:
      return visit(KvInt8Head());
    default:
      fail("scheme != KvScheme::kFp", "keys and values as computed have no codes");
  }
}

// A vector's codes, x.size() * kBits / 8 bytes of them, and its scale; x.size() is even.
template <class Code>
typename Code::Scale kv_encode(std::span<const float> x, uint8_t* codes) {
  const typename Code::Scale scale = Code::scale_of(x);
  for (size_t i = 0; i < x.size(); i += 2) {
    const uint8_t even = Code::encode(x[i], scale), odd = Code::encode(x[i + 1], scale);
    if constexpr (Code::kBits == 4)
      codes[i / 2] = uint8_t(even | odd << 4);
    else
      codes[i] = even, codes[i + 1] = odd;
  }
  return scale;
}

template <class Code>
void kv_decode(const uint8_t* codes, typename Code::Scale scale, std::span<float> x) {
  if constexpr (Code::kBits == 4) {
    std::array<float, 16> values;
    for (size_t code = 0; code < values.size(); ++code)
      values[code] = Code::decode(uint8_t(code), scale);
    for (size_t i = 0; i < x.size(); i += 2) {
      x[i] = values[codes[i / 2] & 15];
      x[i + 1] = values[codes[i / 2] >> 4];
    }
  } else {
    for (size_t i = 0; i < x.size(); ++i) x[i] = Code::decode(codes[i], scale);
  }
}

}  // namespace emberq
