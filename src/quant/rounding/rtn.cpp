#include "quant/rounding/rtn.h"

#include <algorithm>
#include <cmath>

#include "base/check.h"
#include "base/parallel.h"
#include "format/fp16.h"
#include "format/scale.h"
#include "quant/rounding/quantized_weight_io.h"
#include "quant/rounding/scaled_grid.h"

namespace emberq {
namespace {

QuantizedWeight round_fireq(const F64Linear& linear, const WeightScheme& scheme) {
  const std::vector<double> absmax = group_absmax(linear, scheme.group_size);
  const double p = global_scale(absmax);
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
  result.global_scale = float(p);
  return result;
}

QuantizedWeight round_progressive(const F64Linear& linear, const WeightScheme& scheme) {
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

QuantizedWeight round_to_nearest(const F64Linear& linear, const WeightScheme& scheme,
                                 ScaleRule rule) {
  EMBERQ_CHECK(scheme.group_size == 0 || linear.k % scheme.group_size == 0,
               "round to nearest: {} of [{}, {}]", name(scheme), linear.n, linear.k);
  if (scheme.dequant == Dequant::kE4m3 && scheme.code == WeightCode::kInt)
    return round_fireq(linear, scheme);
  if (scheme.zero_point) return round_progressive(linear, scheme);
  const WeightGrid grid(scheme);
  const ScaledGrid scaled(grid,
                          rule == ScaleRule::kAbsmax
                              ? absmax_scales(linear, grid)
                              : searched_scales(linear, grid, std::vector(size_t(linear.k), 1.0)));
  std::vector<uint8_t> codes(linear.weight.size());
  parallel_for(0, linear.n, [&](int64_t row) {
    for (int64_t i = 0; i < linear.k; ++i)
      codes[size_t(row * linear.k + i)] = uint8_t(scaled.encode(row, i, linear.row(row)[i]));
  });
  QuantizedWeight result = pack(linear, scheme, codes, scaled.scales().scale);
  result.global_scale = scaled.scales().global_scale;
  return result;
}

}  // namespace emberq
