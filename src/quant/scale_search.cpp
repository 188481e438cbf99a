#include "quant/scale_search.h"

#include <cmath>

#include "base/parallel.h"
#include "format/bf16.h"

namespace emberq {
namespace {

constexpr int kCandidates = 36;
constexpr double kLeastFactor = 0.45, kLargestFactor = 1.15;

float stored_scale(double scale) { return bf16::from_float(round_to_odd(scale)).to_float(); }

// At least 1e-5, which gives a group of zeros a scale.
double group_absmax(const double* w, int64_t count) {
  double largest = kLeastAbsmax;
  for (int64_t i = 0; i < count; ++i) largest = std::max(largest, std::abs(w[i]));
  return largest;
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

template <class Choose>
GroupScales choose_scales(const DenseLinear& linear, const WeightGrid& grid, const Choose& choose) {
  const int64_t size = grid.scheme().group_size ? grid.scheme().group_size : linear.k;
  GroupScales result{size, linear.k / size, {}};
  result.scale.resize(size_t(linear.n * result.groups));
  parallel_for(0, linear.n, [&](int64_t row) {
    for (int64_t g = 0; g < result.groups; ++g)
      result.scale[size_t(row * result.groups + g)] =
          choose(linear.row(row) + g * size, g * size, size);
  });
  return result;
}

}  // namespace

GroupScales absmax_scales(const DenseLinear& linear, const WeightGrid& grid) {
  return choose_scales(linear, grid, [&](const double* w, int64_t, int64_t size) {
    return stored_scale(group_absmax(w, size) / grid.max());
  });
}

GroupScales searched_scales(const DenseLinear& linear, const WeightGrid& grid,
                            const std::vector<double>& h) {
  return choose_scales(linear, grid, [&](const double* w, int64_t first, int64_t size) {
    const double widest = group_absmax(w, size) / grid.max();
    float best = 0;
    double least = INFINITY;
    for (int i = 0; i < kCandidates; ++i) {
      const double factor = kLeastFactor + (kLargestFactor - kLeastFactor) * i / (kCandidates - 1);
      const float scale = stored_scale(widest * factor);
      const double error = group_error(w, h.data() + first, size, grid, double(scale));
      if (error < least) best = scale, least = error;
    }
    return best;
  });
}

}  // namespace emberq
