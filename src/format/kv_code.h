#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <limits>
#include <span>

#include "base/error.h"
#include "format/fp16.h"
#include "format/lut4.h"
#include "format/scale.h"
#include "format/scheme.h"

// From a head's vector (one token's K or V) to its codes and scale and back, for each KvScheme: the
// one place that says it. A scheme is a struct with
//
//   kBits                   of a code: 4, two in a byte with the even channel in the low half, or 8
//   Scale                   what is stored for a vector beside its codes
//   kCandidates             scales that are tried for a vector
//   candidate(extent, i)    scale i of a vector whose channels reach from extent.low to extent.high
//   kRefits                 times that the best scale is fitted to its own codes; absent: none
//   factors(scale)          what a scale says, as floats: a code's value is code * scale + zero
//   error(x, factors)       about x - decode(encode(x)), by the reciprocal; for searches
//   encode(x, factors)      a value's code in the low kBits
//   decode(code, scale)     a code's value: exact but for zero points, which round a sum to float
//
// all in float. Of several candidates the one with the least squared error over the vector is
// taken, of equal ones the first; format/kv_encode.h says in which order squares are added. A
// product whose sum follows is either a std::fma or exact, so a GPU gives the same codes. NaN has
// no code; callers refuse it before.
namespace emberq {

struct KvExtent {
  float low, high;
  constexpr float absmax() const { return std::max(-low, high) + 0.0f; }  // no negative zero
};

struct KvFactors {
  float scale, zero, reciprocal;  // of `steps` scales

  static constexpr KvFactors of(float scale, float zero = 0, float steps = 1) {
    return {scale, zero, 1 / (steps * scale)};
  }
};

// kInt4Head: q = clamp(round_half_even(x / s), -8, 7), s = e4m3_scale(absmax, 7).
struct KvInt4Head {
  static constexpr int kBits = 4, kCandidates = 1;
  using Scale = E4m3Scale;
  static constexpr Scale candidate(KvExtent extent, int) {
    return e4m3_scale(extent.absmax(), Int4::kMax);
  }
  static constexpr KvFactors factors(Scale scale) { return KvFactors::of(scale.value()); }
  static constexpr uint8_t encode(float x, const KvFactors& f) {
    return int4_encode(quantize_by<Int4>(x, f.scale));
  }
  static constexpr float decode(uint8_t code, Scale scale) {
    return float(int4_decode(code)) * scale.value();
  }
};

// By one instruction on a GPU.
constexpr fp16 fp16_saturated(float x) {
  const float in_range = std::clamp(x, -65504.f, 65504.f);
#ifdef __CUDA_ARCH__
  uint16_t bits;
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(in_range));
  return {bits};
#else
  return fp16::from_float(in_range);
#endif
}
constexpr float fp16_value(fp16 x) {
#ifdef __CUDA_ARCH__
  float value;
  asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(x.bits));
  return value;
#else
  return x.to_float();
#endif
}

// kInt4Asym: q = clamp(round_half_even((x - min) / scale), 0, 15), value = min + q * scale, with
// scale = RNE_fp16((max - min) / 15) and min as stored. A vector whose scale would be zero, as a
// constant one's, has scale 1; what FP16 cannot hold saturates at 65504.
struct ZeroScale {
  fp16 scale, min;
  constexpr float value() const { return fp16_value(scale); }
  constexpr float zero() const { return fp16_value(min); }
};
static_assert(sizeof(ZeroScale) == 4);

struct KvInt4Asym {
  static constexpr int kBits = 4, kMax = 15, kCandidates = 1;
  using Scale = ZeroScale;
  static constexpr Scale candidate(KvExtent extent, int) {
    return of_range(extent.low, extent.high - extent.low);
  }
  static constexpr KvFactors factors(Scale scale) {
    return KvFactors::of(scale.value(), scale.zero(), float(kMax));
  }
  static constexpr uint8_t encode(float x, const KvFactors& f) {
    const float q = (x - f.zero) / f.scale;
    return uint8_t(round_half_even(std::clamp(q, 0.0f, float(kMax))));
  }
  static constexpr float decode(uint8_t code, Scale scale) {
    return scale.zero() + float(code) * scale.value();
  }

 protected:
  static constexpr Scale of_range(float min, float span) {
    return stored(span / float(kMax), min + 0.0f);  // no negative zero
  }
  static constexpr Scale stored(float scale, float min) {
    const fp16 saturated = fp16_saturated(scale);
    return {saturated.bits == 0 ? fp16::from_float(1) : saturated, fp16_saturated(min)};
  }
};

// max(0, min(x, 1)), which a GPU does as it rounds a product.
constexpr float kv_saturated(float x) {
#ifdef __CUDA_ARCH__
  return __saturatef(x);
#else
  return std::clamp(x, 0.0f, 1.0f);
#endif
}

// kInt4AsymMse: as kInt4Asym, over the best of 11 ranges: the whole span of the vector; 0.95 and
// 0.85 of it, with the middle at the span's, or 0.02 or 0.04 of the span below or above. Then twice
// scale and min become those of least squared error for the codes that the best has given, as long
// as the error shrinks. A quotient by scale is the product with the reciprocal of 15 scales, times
// 15.
struct KvInt4AsymMse : KvInt4Asym {
  static constexpr int kCandidates = 11, kRefits = 2;
  static constexpr Scale candidate(KvExtent extent, int i) {
    // How wide a range is and where it begins, in spans.
    const float width = i == 0 ? 1.0f : i <= 5 ? 0.95f : 0.85f;
    const float shift = i == 0 ? 0.0f : float((i - 1) % 5 - 2);
    const float begin = std::fma(shift, 0.02f, (1 - width) / 2);
    constexpr float kLargest = std::numeric_limits<float>::max();  // a product with 0 stays 0
    const float span = std::min(extent.high - extent.low, kLargest);
    return of_range(std::fma(span, begin, extent.low), span * width);
  }

  // A channel's distance from the zero point, its code and its error.
  struct Tried {
    float distance, code, error;
  };
  static constexpr Tried tried(float x, const KvFactors& f) {
    constexpr float kShift = 0x1.8p23f;  // rounds half to even
    const float distance = x - f.zero;
    const float code =
        std::fma(kv_saturated(distance * f.reciprocal), float(kMax), kShift) - kShift;
    return {distance, code, std::fma(-code, f.scale, distance)};
  }
  static constexpr float error(float x, const KvFactors& f) { return tried(x, f).error; }
  static constexpr uint8_t encode(float x, const KvFactors& f) { return uint8_t(tried(x, f).code); }

  // Sums over a vector's channels.
  struct Fit {
    int codes, squares;       // of codes; exact
    float distance, product;  // of distances; of codes times distances
  };
  // Linear regression of the distances over the codes.
  static constexpr Scale refit(Scale scale, int channels, const Fit& fit) {
    const int spread = channels * fit.squares - fit.codes * fit.codes;
    if (spread == 0) return scale;
    const float n = float(channels), codes = float(fit.codes);
    const float slope = std::fma(n, fit.product, -(codes * fit.distance)) / float(spread);
    const float offset = std::fma(-slope, codes, fit.distance) / n;
    return stored(slope, scale.zero() + offset);
  }
};

// kLut4Head: lut4_encode(x / s), s = bf16_scale(absmax * c, 224) for eight c.
struct KvLut4Head {
  static constexpr int kBits = 4, kCandidates = 8;
  using Scale = Bf16Scale;
  static constexpr Scale candidate(KvExtent extent, int i) {
    constexpr float kShares[] = {1.0f, 1.1f, 1.05f, 0.95f, 0.9f, 0.85f, 0.8f, 0.75f};
    return bf16_scale(double(extent.absmax()) * double(kShares[i]), int(kLut4Max));
  }
  static constexpr KvFactors factors(Scale scale) { return KvFactors::of(scale.value()); }
  static constexpr uint8_t encode(float x, const KvFactors& f) { return lut4_encode(x / f.scale); }
  static constexpr float decode(uint8_t code, Scale scale) {
    return lut4_decode(code) * scale.value();
  }
  static constexpr float error(float x, const KvFactors& f) {
    return std::fma(-lut4_round(x * f.reciprocal), f.scale, x);
  }
};

// kInt8Head: q = clamp(round_half_even(x / s), -127, 127), s = bf16_scale(absmax, 127).
struct KvInt8Head {
  static constexpr int kBits = 8, kMin = -127, kMax = 127, kCandidates = 1;
  using Scale = Bf16Scale;
  static constexpr Scale candidate(KvExtent extent, int) {
    return bf16_scale(double(extent.absmax()), kMax);
  }
  static constexpr KvFactors factors(Scale scale) { return KvFactors::of(scale.value()); }
  static constexpr uint8_t encode(float x, const KvFactors& f) {
    return uint8_t(quantize_by<KvInt8Head>(x, f.scale));
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
      return visit(KvInt4Asym());
    case KvScheme::kInt4AsymMse:
      return visit(KvInt4AsymMse());
    case KvScheme::kLut4Head:
      return visit(KvLut4Head());
    case KvScheme::kInt8Head:
      return visit(KvInt8Head());
    default:
      fail("scheme != KvScheme::kFp", "keys and values as computed have no codes");
  }
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
