#include "quant/rounding/gptq.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/check.h"
#include "base/parallel.h"
#include "format/bf16.h"
#include "quant/rounding/generalization.h"
#include "quant/rounding/linear_algebra.h"
#include "quant/rounding/quantized_weight_io.h"
#include "quant/rounding/scaled_grid.h"

namespace emberq {
namespace {

constexpr int64_t kBlockRows = 16;  // rows that share one walk through a matrix of the inputs

// A weight being rounded: codes and scales against a target, under the metric H.
struct Rounding {
  const F64Linear& target;
  const std::vector<double>& h;  // [k, k]
  std::vector<int64_t> order;    // columns by falling h[j, j]
  ScaledGrid grid;
  std::vector<uint8_t> codes;  // [n, k]

  int64_t n() const { return target.n; }
  int64_t k() const { return target.k; }
  int code(int64_t i, int64_t j) const { return codes[size_t(i * k() + j)]; }
  double value(int64_t i, int64_t j) const { return grid.value(i, j, code(i, j)); }
};

// What the outputs W x̂ lack of the original's, times x̂^T: [n, k].
std::vector<double> lacking_outputs(const F64Linear& linear, const InputSums& sums) {
  const auto times = [&](const std::vector<double>& m) {  // W m
    return product(linear.weight.data(), m.data(), linear.n, linear.k, linear.k);
  };
  const std::vector<double> reached = times(sums.gram);
  std::vector<double> lacking = sums.outputs.empty() ? times(sums.cross) : sums.outputs;
  for (size_t i = 0; i < lacking.size(); ++i) lacking[i] -= reached[i];
  return lacking;
}

std::vector<double> difference(std::vector<double> a, const std::vector<double>& b) {
  for (size_t i = 0; i < a.size(); ++i) a[i] -= b[i];
  return a;
}

// (1 - α) gram + α mean I is the gram damped by α / (1 - α), but for its size.
double chosen_damping(const InputStatistics& inputs, const GptqOptions& options) {
  constexpr double kMostShrinkage = 0.999;  // leaves no more of the gram than its size
  const double shrinkage = std::min(kMostShrinkage, inputs.shrinkage);
  return std::max(options.dampening_frac, shrinkage / (1 - shrinkage));
}

// What is to be made up for, times x̂^T [n, k]: in all tokens, and in half of them.
struct Aim {
  double correction;
  std::vector<double> all, half;
};

F64Linear corrected(const F64Linear& linear, const InputStatistics& inputs,
                    const std::vector<double>& h, double damping, const GptqOptions& options) {
  F64Linear target{linear.n, linear.k, linear.weight, {}};
  const InputSums& all = inputs.all;
  const InputSums none;
  const InputSums& half = inputs.half ? *inputs.half : none;
  std::vector<Aim> aims;
  if (!(all.cross.empty() && all.outputs.empty()) && options.input_correction != 0)
    aims.push_back({options.input_correction, lacking_outputs(linear, all),
                    inputs.half ? lacking_outputs(linear, half) : std::vector<double>()});
  if (!all.residual.empty() && options.residual_correction != 0)
    aims.push_back({options.residual_correction, all.residual, half.residual});
  if (aims.empty()) return target;

  std::vector<double> pull(linear.weight.size());
  const std::vector<double> rest =
      inputs.half ? difference(all.gram, half.gram) : std::vector<double>();
  for (const Aim& aim : aims) {
    double correction = aim.correction;
    if (inputs.half)
      correction *= correction_share({half.gram, aim.half}, {rest, difference(aim.all, aim.half)},
                                     linear.n, linear.k, damping);
    for (size_t i = 0; i < pull.size(); ++i) pull[i] += correction * aim.all[i];
  }
  pull = solve_right(std::move(pull), h, linear.n, linear.k);
  for (size_t i = 0; i < pull.size(); ++i) target.weight[i] += pull[i];
  return target;
}

// Column by column: round, and let the columns that follow make up for the error.
void feed_back(Rounding& r) {
  const int64_t n = r.n(), k = r.k();
  std::vector<double> h(size_t(k * k));
  for (int64_t i = 0; i < k; ++i)
    for (int64_t j = 0; j < k; ++j)
      h[size_t(i * k + j)] = r.h[size_t(r.order[size_t(i)] * k + r.order[size_t(j)])];
  const std::vector<double> u = cholesky_of_inverse(std::move(h), k);

  parallel_for(0, (n + kBlockRows - 1) / kBlockRows, [&](int64_t block) {
    const int64_t first = block * kBlockRows, rows = std::min(kBlockRows, n - first);
    std::vector<double> work(size_t(rows * k));
    for (int64_t i = 0; i < rows; ++i)
      for (int64_t j = 0; j < k; ++j)
        work[size_t(i * k + j)] = r.target.row(first + i)[r.order[size_t(j)]];
    for (int64_t j = 0; j < k; ++j) {
      const int64_t column = r.order[size_t(j)];
      const double* u_row = u.data() + j * k;
      for (int64_t i = 0; i < rows; ++i) {
        double* w = work.data() + i * k;
        const int code = r.grid.encode(first + i, column, w[j]);
        r.codes[size_t((first + i) * k + column)] = uint8_t(code);
        const double error = (w[j] - r.grid.value(first + i, column, code)) / u_row[j];
#pragma omp simd
        for (int64_t l = j + 1; l < k; ++l) w[l] -= error * u_row[l];
      }
    }
  });
}

// target - rounded, [n, k], as these scales would have it
std::vector<double> difference(const Rounding& r, const ScaledGrid& grid) {
  std::vector<double> d(r.target.weight.size());
  parallel_for(0, r.n(), [&](int64_t i) {
    for (int64_t j = 0; j < r.k(); ++j)
      d[size_t(i * r.k() + j)] = r.target.row(i)[j] - grid.value(i, j, r.code(i, j));
  });
  return d;
}

// Each code given all others. The error under H can only fall.
void descend(Rounding& r) {
  const int64_t k = r.k();
  const std::vector<double> d = difference(r, r.grid);
  std::vector<double> slope = product(d.data(), r.h.data(), r.n(), k, k);  // (target - rounded) H
  parallel_for(0, r.n(), [&](int64_t i) {
    double* s = slope.data() + i * k;
    for (const int64_t j : r.order) {
      const double* h = r.h.data() + j * k;
      const double old = r.value(i, j);
      const int code = r.grid.encode(i, j, old + s[j] / h[j]);
      const double step = r.grid.value(i, j, code) - old;
      if (step == 0) continue;
      r.codes[size_t(i * k + j)] = uint8_t(code);
#pragma omp simd
      for (int64_t l = 0; l < k; ++l) s[l] -= step * h[l];
    }
  });
}

// The scales of each row by least squares given its codes, sum_g s_g c_g against the target, in
// BF16. Of exact products where the row's error under H then falls; else those it has. Of others
// always, for the caller to judge, but never so large that a product would pass e4m3.
GroupScales fitted_scales(const Rounding& r) {
  GroupScales result = r.grid.scales();
  const WeightGrid& grid = r.grid.grid();
  const bool products = has_e4m3_levels(grid.scheme());
  const double most = products ? double(kFp8Max) / (grid.max() * double(result.global_scale))
                               : INFINITY;  // a power of two
  const int64_t n = r.n(), k = r.k(), groups = result.groups, size = result.group_size;
  const std::vector<double> pulled =
      product(r.target.weight.data(), r.h.data(), n, k, k);  // target H
  parallel_for(0, (n + kBlockRows - 1) / kBlockRows, [&](int64_t block) {
    const int64_t first = block * kBlockRows, rows = std::min(kBlockRows, n - first);
    std::vector<double> c(size_t(rows * k)), a(size_t(rows * groups * groups)),
        b(size_t(rows * groups));
    for (int64_t i = 0; i < rows; ++i)
      for (int64_t j = 0; j < k; ++j) {
        const double value = grid.value(r.code(first + i, j));
        c[size_t(i * k + j)] = value;
        b[size_t(i * groups + j / size)] += value * pulled[size_t((first + i) * k + j)];
      }
    for (int64_t j = 0; j < k; ++j) {
      const double* h = r.h.data() + j * k;
      for (int64_t i = 0; i < rows; ++i)
        for (int64_t g = 0; g < groups; ++g) {
          const double* values = c.data() + i * k + g * size;
          double sum = 0;
#pragma omp simd reduction(+ : sum)
          for (int64_t l = 0; l < size; ++l) sum += h[g * size + l] * values[l];
          a[size_t((i * groups + j / size) * groups + g)] += c[size_t(i * k + j)] * sum;
        }
    }
    for (int64_t i = 0; i < rows; ++i) {
      const auto at = [&](const std::vector<double>& v, int64_t count) {
        return std::vector<double>(v.begin() + i * count, v.begin() + (i + 1) * count);
      };
      const std::vector<double> row_a = at(a, groups * groups), row_b = at(b, groups);
      std::vector<double> factor = row_a, fitted = row_b;
      if (!solve_small(factor, fitted)) continue;
      float* scale = result.scale.data() + (first + i) * groups;
      for (int64_t g = 0; g < groups; ++g) {
        const bool plausible =
            fitted[size_t(g)] > 0.5 * double(scale[g]) && fitted[size_t(g)] < 2 * double(scale[g]);
        fitted[size_t(g)] =
            plausible
                ? std::min(most, double(bf16::from_float(float(fitted[size_t(g)])).to_float()))
                : double(scale[g]);
      }
      // s A s - 2 b s is the error but for a constant.
      const auto error = [&](const auto& s) {
        double sum = 0;
        for (int64_t g = 0; g < groups; ++g) {
          double row = -2 * row_b[size_t(g)];
          for (int64_t l = 0; l < groups; ++l) row += row_a[size_t(g * groups + l)] * double(s[l]);
          sum += row * double(s[g]);
        }
        return sum;
      };
      if (products || error(fitted.data()) < error(scale))
        for (int64_t g = 0; g < groups; ++g) scale[g] = float(fitted[size_t(g)]);
    }
  });
  return result;
}

// Gives `fitted` a row's old scales back where its error under H falls no more once the products
// are rounded: d H d of the new differences less that of the old is (new - old) H (new + old).
void keep_better(const Rounding& r, GroupScales& fitted) {
  const std::vector<double> old = difference(r, r.grid);
  std::vector<double> change = difference(r, ScaledGrid(r.grid.grid(), fitted)), sum = change;
  for (size_t i = 0; i < old.size(); ++i) sum[i] += old[i], change[i] -= old[i];
  const int64_t k = r.k(), groups = fitted.groups;
  const std::vector<double> pulled = product(sum.data(), r.h.data(), r.n(), k, k);
  parallel_for(0, r.n(), [&](int64_t i) {
    double rise = 0;
    for (int64_t j = i * k; j < (i + 1) * k; ++j) rise += change[size_t(j)] * pulled[size_t(j)];
    if (rise < 0) return;
    const float* before = r.grid.scales().scale.data() + i * groups;
    std::copy(before, before + groups, fitted.scale.data() + i * groups);
  });
}

void refit(Rounding& r) {
  GroupScales fitted = fitted_scales(r);
  if (has_e4m3_levels(r.grid.grid().scheme())) keep_better(r, fitted);
  r.grid = ScaledGrid(r.grid.grid(), std::move(fitted));
}

}  // namespace

QuantizedWeight gptq(const F64Linear& linear, const WeightScheme& scheme,
                     const InputStatistics& inputs, const GptqOptions& options) {
  EMBERQ_CHECK((scheme.dequant == Dequant::kExact || has_e4m3_levels(scheme)) &&
                   !scheme.zero_point && inputs.k == linear.k &&
                   (scheme.group_size == 0 || linear.k % scheme.group_size == 0),
               "gptq: {} of [{}, {}] with statistics of {} inputs", name(scheme), linear.n,
               linear.k, inputs.k);
  const WeightGrid grid(scheme);
  const double damping = chosen_damping(inputs, options);
  const std::vector<double> h = damped(inputs.all.gram, inputs.k, damping);
  const F64Linear target = corrected(linear, inputs, h, damping, options);
  std::vector<double> power(size_t(linear.k));
  for (int64_t j = 0; j < linear.k; ++j) power[size_t(j)] = h[size_t(j * linear.k + j)];

  Rounding rounding{target, h, std::vector<int64_t>(size_t(linear.k)),
                    ScaledGrid(grid, searched_scales(target, grid, power)),
                    std::vector<uint8_t>(target.weight.size())};
  std::iota(rounding.order.begin(), rounding.order.end(), 0);
  std::ranges::stable_sort(
      rounding.order, [&](int64_t a, int64_t b) { return power[size_t(a)] > power[size_t(b)]; });
  feed_back(rounding);
  for (int i = 0; i < options.refinements; ++i) {
    refit(rounding);
    descend(rounding);
  }
  const GroupScales& scales = rounding.grid.scales();
  QuantizedWeight result = pack(linear, scheme, rounding.codes, scales.scale);
  result.global_scale = scales.global_scale;
  return result;
}

}  // namespace emberq
