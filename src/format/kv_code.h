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
//   factors(scale)          what a scale says, as floats: a code's value is code * scale + zero
//   rounded(x, factors)     about decode(encode(x)), by the reciprocal; for searches
//   encode(x, factors)      a value's code in the low kBits
//   decode(code, scale)     a code's value: exact but for zero points, which round a sum to float
//
// all in float. Of several candidates the one with the least squared error over the vector is
// taken, of equal ones the first; kv_scale() says in which order squares are added. Expressions are
// such that fusing a product and a sum changes no bit, so a GPU gives the same codes. NaN has no
// code; callers refuse it before.
namespace emberq {

struct KvExtent {
  float low, high;
  constexpr float absmax() const { return std::max(-low, high) + 0.0f; }  // no negative zero
};

struct KvFactors {
  float scale, zero, reciprocal;  // 1 / scale

  static constexpr KvFactors of(float scale, float zero = 0) { return {scale, zero, 1 / scale}; }
};

inline KvExtent kv_extent(std::span<const float> x) {
  float low = x[0], high = x[0];
#pragma omp simd reduction(min : low) reduction(max : high)
  for (size_t i = 0; i < x.size(); ++i) low = std::min(low, x[i]), high = std::max(high, x[i]);
  return {low, high};
}

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

// kInt4Asym: q = clamp(round_half_even((x - min) / scale), 0, 15), value = min + q * scale, with
// scale = RNE_fp16((max - min) / 15) and min as stored. A vector whose scale would be zero, as a
// constant one's, has scale 1; what FP16 cannot hold saturates at 65504.
struct ZeroScale {
  fp16 scale, min;
  constexpr float value() const { return scale.to_float(); }
};
static_assert(sizeof(ZeroScale) == 4);

constexpr fp16 fp16_saturated(float x) {
  return fp16::from_float(std::clamp(x, -65504.f, 65504.f));
}

struct KvInt4Asym {
  static constexpr int kBits = 4, kMax = 15, kCandidates = 1;
  using Scale = ZeroScale;
  static constexpr Scale candidate(KvExtent extent, int) {
    return of_range(extent.low, extent.high - extent.low);
  }
  static constexpr KvFactors factors(Scale scale) {
    return KvFactors::of(scale.value(), scale.min.to_float());
  }
  static constexpr uint8_t encode(float x, const KvFactors& f) {
    const float q = (x - f.zero) / f.scale;
    return uint8_t(round_half_even(std::clamp(q, 0.0f, float(kMax))));
  }
  static constexpr float decode(uint8_t code, Scale scale) {
    return scale.min.to_float() + float(code) * scale.value();
  }
  static constexpr float rounded(float x, const KvFactors& f) {
    const float q = std::clamp((x - f.zero) * f.reciprocal, 0.0f, float(kMax));
    return f.zero + round_half_even(q) * f.scale;
  }

 protected:
  static constexpr Scale of_range(float min, float span) {
    const fp16 scale = fp16_saturated(span / float(kMax));
    return {scale.bits == 0 ? fp16::from_float(1) : scale, fp16_saturated(min)};
  }
};

// kInt4AsymMse: as kInt4Asym, over the best of 18 ranges: `width` of the span of the vector, with
// its middle at the span's, or a fiftieth of the span below or above.
struct KvInt4AsymMse : KvInt4Asym {
  static constexpr int kCandidates = 18;
  static constexpr Scale candidate(KvExtent extent, int i) {
    constexpr float kWidths[] = {1.0f, 0.95f, 0.9f, 0.85f, 0.8f, 0.75f};
    constexpr float kShifts[] = {0.0f, -0.02f, 0.02f};
    constexpr float kLargest = std::numeric_limits<float>::max();  // a product with 0 stays 0
    const float span = std::min(extent.high - extent.low, kLargest), width = kWidths[i / 3];
    const float moved = span * ((1 - width) / 2 + kShifts[i % 3]);
    return of_range(extent.low + moved, span * width);
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
  static constexpr float rounded(float x, const KvFactors& f) {
    return lut4_round(x * f.reciprocal) * f.scale;
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

// The squared error of a candidate is the sum of 32 partial sums, as a warp makes it: sum l takes
// channels l, l + 32, ... in this order, each square with one fused rounding; then the sums 16, 8,
// 4, 2 and 1 apart are added.
template <class Code>
float kv_squared_error(std::span<const float> x, typename Code::Scale scale) {
  constexpr size_t kSums = 32;
  std::array<float, kSums> sums{};
  const KvFactors factors = Code::factors(scale);
  const auto add = [&](size_t l, float value) {
    const float error = value - Code::rounded(value, factors);
    sums[l] = std::fma(error, error, sums[l]);
  };
  size_t begin = 0;
  for (; begin + kSums <= x.size(); begin += kSums) {
#pragma omp simd
    for (size_t l = 0; l < kSums; ++l) add(l, x[begin + l]);
  }
  for (size_t l = 0; begin + l < x.size(); ++l) add(l, x[begin + l]);
  for (size_t apart = kSums / 2; apart > 0; apart /= 2)
    for (size_t l = 0; l < apart; ++l) sums[l] += sums[l + apart];
  return sums[0];
}

template <class Code>
typename Code::Scale kv_scale(std::span<const float> x) {
  const KvExtent extent = kv_extent(x);
  auto best = Code::candidate(extent, 0);
  if constexpr (Code::kCandidates > 1) {
    float least = kv_squared_error<Code>(x, best);
    for (int i = 1; i < Code::kCandidates; ++i) {
      const auto scale = Code::candidate(extent, i);
      const float error = kv_squared_error<Code>(x, scale);
      if (error < least) least = error, best = scale;
    }
  }
  return best;
}

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

// A vector's codes, x.size() * kBits / 8 bytes of them, and its scale; x.size() is even.
template <class Code>
typename Code::Scale kv_encode(std::span<const float> x, uint8_t* codes) {
  const typename Code::Scale scale = kv_scale<Code>(x);
  const KvFactors factors = Code::factors(scale);
  for (size_t i = 0; i < x.size(); i += 2) {
    const uint8_t even = Code::encode(x[i], factors), odd = Code::encode(x[i + 1], factors);
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
