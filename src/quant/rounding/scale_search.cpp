#include "quant/rounding/scale_search.h"

#include <algorithm>
#include <cmath>

#include "base/parallel.h"
#include "format/bf16.h"
#include "quant/rounding/e4m3_levels.h"

namespace emberq {
namespace {

constexpr int kCandidates = 36;
constexpr double kLeastFactor = 0.45, kLargestFactor = 1.15;

float stored_scale(double scale) { return bf16::from_float(round_to_odd(scale)).to_float(); }

double absmax(const double* w, int64_t count) {
  double largest = 0;
  for (int64_t i = 0; i < count; ++i) largest = std::max(largest, std::abs(w[i]));
  return largest;
}

// At least 1e-5, which gives a group of zeros a scale.
double scaled_absmax(const double* w, int64_t count) {
  return std::max(kLeastAbsmax, absmax(w, count));
}

double group_error(const double* w, const double* h, int64_t count, const WeightGrid& grid,
                   double scale) {
  const double inverse = 1 / scale;
  double error = 0;
  for (int64_t i = 0; i < count; ++i) {
    const double d = w[i] - grid.nearest(w[i] * inverse) * scale;
    error += h[i] * d * d;
  }
  return error;
}

double group_error(const double* w, const double* h, int64_t count, const E4m3Levels& levels) {
  double error = 0;
#pragma omp simd reduction(+ : error)
  for (int64_t i = 0; i < count; ++i) {
    const double d = w[i] - levels.round(w[i]);
    error += h[i] * d * d;
  }
  return error;
}

template <class Choose>
GroupScales choose_scales(const F64Linear& linear, const WeightGrid& grid, const Choose& choose) {
  const int64_t size = grid.scheme().group_size ? grid.scheme().group_size : linear.k;
  GroupScales result{size, linear.k / size, {}};
  result.scale.resize(size_t(linear.n * result.groups));
  if (has_e4m3_levels(grid.scheme()))
    result.global_scale = float(global_scale(group_absmax(linear, size), WeightCode::kLut));
  parallel_for(0, linear.n, [&](int64_t row) {
    for (int64_t g = 0; g < result.groups; ++g)
      result.scale[size_t(row * result.groups + g)] =
          choose(linear.row(row) + g * size, g * size, size, result.global_scale);
  });
  return result;
}

}  // namespace

std::vector<double> group_absmax(const F64Linear& linear, int64_t group_size) {
  std::vector<double> result(size_t(linear.n * linear.k / group_size));
  parallel_for(0, int64_t(result.size()), [&](int64_t g) {
    result[size_t(g)] = absmax(linear.weight.data() + g * group_size, group_size);
  });
  return result;
}

double global_scale(std::span<const double> group_absmax, WeightCode code) {
  const bool lut = code == WeightCode::kLut;
  const double least = lut ? double(kLut4Max) / double(kLut4Magnitudes[0]) * 0x1p-6
                           : Int4::kMax * double(kFp8MinSubnormal);
  const double most = lut ? double(kLut4Max) : double(kFp8Max);
  const auto fits = [&](double p) {
    return std::ranges::all_of(group_absmax, [&](double x) { return x * p <= most; });
  };
  constexpr double kLeastP = 0x1p-14, kMostP = 0x1p14;
  double best = 1;
  while (lut && best > kLeastP && !fits(best)) best /= 2;
  double least_shortfall = INFINITY;
  for (double p = best; p <= kMostP && fits(p); p *= 2) {
    double shortfall = 0;
    for (const double absmax : group_absmax)
      if (absmax * p < least) shortfall += (least - absmax * p) / least;
    if (shortfall < least_shortfall) best = p, least_shortfall = shortfall;
  }
  return best;
}

GroupScales absmax_scales(const F64Linear& linear, const WeightGrid& grid) {
  return choose_scales(linear, grid, [&](const double* w, int64_t, int64_t size, float) {
    return stored_scale(scaled_absmax(w, size) / grid.max());
  });
}

GroupScales searched_scales(const F64Linear& linear, const WeightGrid& grid,
                            const std::vector<double>& h) {
  const bool products = has_e4m3_levels(grid.scheme());
  return choose_scales(linear, grid, [&](const double* w, int64_t first, int64_t size, float p) {
    const double widest = scaled_absmax(w, size) / grid.max();
    float best = 0;
    double least = INFINITY;
    for (int i = 0; i < kCandidates; ++i) {
      const double factor = kLeastFactor + (kLargestFactor - kLeastFactor) * i / (kCandidates - 1);
      const float scale = stored_scale(widest * factor);
      const double error = products ? group_error(w, h.data() + first, size, E4m3Levels(scale, p))
                                    : group_error(w, h.data() + first, size, grid, double(scale));
      if (error < least) best = scale, least = error;
    }
    return best;
  });
}

}  // namespace emberq
