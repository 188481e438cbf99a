#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstdint>
#include <span>

#include "format/kv_code.h"

// From a head's vector to its scale and codes: the search for a scale (format/kv_code.h), in an
// order of sums that a warp can keep.
namespace emberq {

inline KvExtent kv_extent(std::span<const float> x) {
  float low = x[0], high = x[0];
#pragma omp simd reduction(min : low) reduction(max : high)
  for (size_t i = 0; i < x.size(); ++i) low = std::min(low, x[i]), high = std::max(high, x[i]);
  return {low, high};
}

// Channels that a lane of a warp has of a vector of `dim`: a power of two, both codes of a byte.
constexpr int kv_lane_channels(int64_t dim) {
  return std::max(2, int(std::bit_ceil(uint64_t(dim + 31) / 32)));
}

// A vector of at most kMaxChannels as the lanes of a warp have it: lane l has channels n l ... n l
// + n - 1, n = kv_lane_channels(). What is summed over the vector is summed by each lane in the
// order of its channels, then over the lanes 16, 8, 4, 2 and 1 apart.
class KvLanes {
 public:
  static constexpr size_t kLanes = 32, kMaxChannels = 256;

  explicit KvLanes(std::span<const float> x)
      : channels_(size_t(kv_lane_channels(int64_t(x.size())))) {
    if (x.size() > kMaxChannels) fail("x.size() <= 256", "a head has more than 256 channels");
    for (size_t i = 0; i < x.size(); ++i) values_[i % channels_][i / channels_] = x[i];
    for (size_t j = 0; j < channels_; ++j) lanes_[j] = (x.size() - j + channels_ - 1) / channels_;
  }

  // add(sum, x): the sum of a lane and one more channel.
  template <class Add>
  float sum(const Add& add) const {
    std::array<float, kLanes> sums{};
    for (size_t j = 0; j < channels_; ++j) {
#pragma omp simd
      for (size_t l = 0; l < lanes_[j]; ++l) sums[l] = add(sums[l], values_[j][l]);
    }
    for (size_t apart = kLanes / 2; apart > 0; apart /= 2)
      for (size_t l = 0; l < apart; ++l) sums[l] += sums[l + apart];
    return sums[0];
  }

 private:
  size_t channels_;
  std::array<size_t, kMaxChannels / kLanes> lanes_{};  // that have a channel j
  std::array<std::array<float, kLanes>, kMaxChannels / kLanes> values_;
};

template <class Code>
float kv_squared_error(const KvLanes& x, typename Code::Scale scale) {
  const KvFactors factors = Code::factors(scale);
  return x.sum([&](float sum, float value) {
    const float error = Code::error(value, factors);
    return std::fma(error, error, sum);
  });
}

template <class Code>
typename Code::Scale kv_refit(std::span<const float> x, const KvLanes& lanes,
                              typename Code::Scale scale) {
  const KvFactors factors = Code::factors(scale);
  typename Code::Fit fit{};
  for (const float value : x) {
    const int code = int(Code::tried(value, factors).code);
    fit.codes += code, fit.squares += code * code;
  }
  fit.distance =
      lanes.sum([&](float sum, float value) { return sum + Code::tried(value, factors).distance; });
  fit.product = lanes.sum([&](float sum, float value) {
    const auto tried = Code::tried(value, factors);
    return std::fma(tried.code, tried.distance, sum);
  });
  return Code::refit(scale, int(x.size()), fit);
}

template <class Code>
typename Code::Scale kv_scale(std::span<const float> x) {
  const KvExtent extent = kv_extent(x);
  auto best = Code::candidate(extent, 0);
  if constexpr (Code::kCandidates > 1) {
    const KvLanes lanes(x);
    float least = kv_squared_error<Code>(lanes, best);
    const auto try_scale = [&](typename Code::Scale scale) {
      const float error = kv_squared_error<Code>(lanes, scale);
      if (!(error < least)) return false;
      least = error, best = scale;
      return true;
    };
    for (int i = 1; i < Code::kCandidates; ++i) try_scale(Code::candidate(extent, i));
    if constexpr (requires { Code::kRefits; })
      for (int i = 0; i < Code::kRefits; ++i)
        if (!try_scale(kv_refit<Code>(x, lanes, best))) break;
  }
  return best;
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

}  // namespace emberq
