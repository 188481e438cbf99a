#include "quant/rtn.h"

#include <algorithm>
#include <cmath>

#include "base/check.h"
#include "base/parallel.h"
#include "format/fp16.h"
#include "format/scale.h"
#include "quant/packing.h"
#include "quant/scale_search.h"

namespace emberq {
namespace {

std::vector<double> group_absmax(const DenseLinear& linear, int64_t group_size) {
  std::vector<double> absmax(size_t(linear.n * linear.k / group_size));
  parallel_for(0, int64_t(absmax.size()), [&](int64_t g) {
    const double* group = linear.weight.data() + g * group_size;
    double largest = 0;
    for (int64_t i = 0; i < group_size; ++i) largest = std::max(largest, std::abs(group[i]));
    absmax[size_t(g)] = largest;
  });
  return absmax;
}

}  // namespace

double per_tensor_scale(std::span<const double> group_absmax) {
  constexpr double kLeastScaled = Int4::kMax * double(kFp8MinSubnormal);  // its scale is 2^-9
  double best = 1, least = INFINITY;
  for (int i = 0; i <= 14; ++i) {
    const double p = std::ldexp(1.0, i);
    double shortfall = 0;
    for (const double absmax : group_absmax) {
      if (absmax * p > double(kFp8Max)) return best;
      if (absmax * p < kLeastScaled) shortfall += (kLeastScaled - absmax * p) / kLeastScaled;
    }
    if (shortfall < least) best = p, least = shortfall;
  }
  return best;
}

namespace {

QuantizedWeight round_fireq(const DenseLinear& linear, const WeightScheme& scheme) {
  const std::vector<double> absmax = group_absmax(linear, scheme.group_size);
  const double p = per_tensor_scale(absmax);
  const int64_t groups = linear.k / scheme.group_size;
  std::vector<float> scales(absmax.size());
  std::vector<uint8_t> codes(linear.weight.size());
  parallel_for(0, linear.n, [&](int64_t row) {
    for (int64_t g = 0; g < groups; ++g) {
      const auto group = size_t(row * groups + g);
      const E4m3Scale scale = e4m3_scale(std::max(p * absmax[group], kLeastAbsmax), Int4::kMax);
      scales[group] = scale.value() / float(p);
      for (int64_t i = g * scheme.group_size; i < (g + 1) * scheme.group_size; ++i)
        codes[size_t(row * linear.k + i)] =
            uint8_t(quantize<Int4>(p * linear.row(row)[i], scale) - Int4::kMin);
    }
  });
  QuantizedWeight result = pack(linear, scheme, codes, scales);
  result.per_tensor_scale = float(p);
  return result;
}

QuantizedWeight round_progressive(const DenseLinear& linear, const WeightScheme& scheme) {
  constexpr double kFirstMax = 119;  // so that rounding the second time stays within INT8
  const int64_t size = scheme.group_size, groups = linear.k / size;
  std::vector<float> scales(size_t(linear.n * groups));
  std::vector<int8_t> zeros(scales.size());
  std::vector<uint8_t> codes(linear.weight.size());
  parallel_for(0, linear.n, [&](int64_t row) {
    const double* w = linear.row(row);
    double absmax = kLeastAbsmax;
    for (int64_t i = 0; i < linear.k; ++i) absmax = std::max(absmax, std::abs(w[i]));
    const float s1 = fp16::from_float(float(absmax / kFirstMax)).to_float();
    for (int64_t g = 0; g < groups; ++g) {
      std::vector<double> w8;
      double least = 0, largest = 0;
      for (int64_t i = g * size; i < (g + 1) * size; ++i) {
        w8.push_back(std::clamp(round_half_even(w[i] / double(s1)), -128.0, 127.0));
        least = std::min(least, w8.back());
        largest = std::max(largest, w8.back());
      }
      const double s2 = std::max(1.0, round_half_even((largest - least) / 15));
      const double z = std::clamp(round_half_even(-least / s2), 0.0, 15.0);
      for (int64_t i = 0; i < size; ++i)
        codes[size_t(row * linear.k + g * size + i)] =
            uint8_t(std::clamp(round_half_even(w8[size_t(i)] / s2) + z, 0.0, 15.0));
      scales[size_t(row * groups + g)] = s1 * float(s2);
      zeros[size_t(row * groups + g)] = int8_t(int(z) + Int4::kMin);
    }
  });
  QuantizedWeight result = pack(linear, scheme, codes, scales);
  result.scale = Tensor::of({linear.n, groups}, scales);
  result.zero_point =
      Tensor::copy_of(DType::kI8, {linear.n, groups}, std::span<const int8_t>(zeros));
  return result;
}

}  // namespace

QuantizedWeight round_to_nearest(const DenseLinear& linear, const WeightScheme& scheme,
                                 ScaleRule rule) {
  EMBERQ_CHECK(scheme.group_size == 0 || linear.k % scheme.group_size == 0,
               "round to nearest: {} of [{}, {}]", name(scheme), linear.n, linear.k);
  if (scheme.product == WeightProduct::kE4m3) return round_fireq(linear, scheme);
  if (scheme.zero_point) return round_progressive(linear, scheme);
  const WeightGrid grid(scheme);
  const GroupScales scales =
      rule == ScaleRule::kAbsmax
          ? absmax_scales(linear, grid)
          : searched_scales(linear, grid, std::vector<double>(size_t(linear.k), 1.0));
  std::vector<uint8_t> codes(linear.weight.size());
  parallel_for(0, linear.n, [&](int64_t row) {
    for (int64_t i = 0; i < linear.k; ++i) {
      const auto group = size_t(row * scales.groups + i / scales.group_size);
      codes[size_t(row * linear.k + i)] =
          uint8_t(grid.encode(linear.row(row)[i] / double(scales.scale[group])));
    }
  });
  return pack(linear, scheme, codes, scales.scale);
}

}  // namespace emberq
