#include "quant/transform/channel_scale.h"

#include <algorithm>
#include <cmath>

#include "base/check.h"
#include "base/parallel.h"
#include "quant/rounding/linear_algebra.h"
#include "quant/rounding/scaled_grid.h"

namespace emberq {
namespace {

// Channels of a site that share a λ: at o_proj those of the query heads of a KV head.
struct Channels {
  int64_t inputs = 0, scales = 0;
  int64_t head_dim = 0, group = 0;  // 0: each its own

  int64_t scale_of(int64_t input) const {
    return group ? input / head_dim / group * head_dim + input % head_dim : input;
  }
  // Sums over the inputs of each λ.
  template <class Vector>
  std::vector<double> fold(const Vector& by_input) const {
    std::vector<double> sums(static_cast<size_t>(scales));
    for (int64_t j = 0; j < inputs; ++j) sums[size_t(scale_of(j))] += double(by_input(j));
    return sums;
  }
};

Channels channels_of(const ModelConfig& config, LinearInput site) {
  const int64_t k = inputs(config, site);
  if (site != LinearInput::kAttentionOut) return {k, k, 0, 0};
  return {k, config.num_kv_heads * config.head_dim, config.head_dim,
          config.num_heads / config.num_kv_heads};
}

// sum_i f(W_ij) over the rows of all readers, by input.
template <class F>
std::vector<double> over_rows(const F64Layer& block, LinearInput site, const F& f) {
  std::vector<double> sums;
  for (const Projection module : linears_reading(site)) {
    const F64Linear& linear = block[module];
    sums.resize(size_t(linear.k));
    for (int64_t i = 0; i < linear.n; ++i)
      for (int64_t j = 0; j < linear.k; ++j) sums[size_t(j)] += f(linear.row(i)[j]);
  }
  return sums;
}

// FireQ, channel scale Λ: all channels weigh about c.
std::vector<double> mean_scales(const F64Layer& block, const Channels& channels, LinearInput site,
                                const ChannelScale& scale) {
  const std::vector<double> sums = over_rows(block, site, [](double w) { return std::abs(w); });
  std::vector<double> means = channels.fold([&](int64_t j) { return sums[size_t(j)]; });
  int64_t rows = 0;
  for (const Projection module : linears_reading(site)) rows += block[module].n;
  rows *= channels.inputs / channels.scales;
  double total = 0;
  for (double& mean : means) total += mean /= double(rows);
  const double constant = scale.constant.value_or(total / double(means.size()));
  std::vector<double> lambda;
  for (const double mean : means) lambda.push_back(mean > 0 ? constant / mean : 1.0);
  return lambda;
}

// x^power / w^(1 - power), with a geometric mean of 1; 1 where a channel is always zero.
std::vector<double> balance(const std::vector<double>& x, const std::vector<double>& w,
                            double power) {
  std::vector<double> lambda(x.size(), 1.0);
  double logs = 0;
  for (size_t j = 0; j < x.size(); ++j) {
    if (x[j] > 0 && w[j] > 0) lambda[j] = std::pow(x[j], power) / std::pow(w[j], 1 - power);
    logs += std::log(lambda[j]);
  }
  const double mean = std::exp(logs / double(x.size()));
  for (size_t j = 0; j < x.size(); ++j)
    if (x[j] > 0 && w[j] > 0) lambda[j] /= mean;
  return lambda;
}

// What rounding the readers costs under their inputs: sum |(W λ - Q(W λ)) λ^-1 x|^2.
double rounding_error(const F64Layer& block, const Channels& channels, LinearInput site,
                      const std::vector<double>& lambda, const std::vector<double>& gram,
                      const ModuleSchemes& schemes) {
  const int64_t k = channels.inputs;
  const auto at = [&](int64_t j) { return lambda[size_t(channels.scale_of(j))]; };
  std::vector<double> power(static_cast<size_t>(k));
  for (int64_t j = 0; j < k; ++j) power[size_t(j)] = gram[size_t(j * k + j)] / (at(j) * at(j));
  double total = 0;
  for (const Projection module : linears_reading(site)) {
    if (!schemes[size_t(module)]) continue;
    F64Linear scaled = block[module];
    for (int64_t i = 0; i < scaled.n; ++i)
      for (int64_t j = 0; j < k; ++j) scaled.row(i)[j] *= at(j);
    const WeightGrid grid(*schemes[size_t(module)]);
    const ScaledGrid levels(grid, searched_scales(scaled, grid, power));
    parallel_for(0, scaled.n, [&](int64_t i) {
      for (int64_t j = 0; j < k; ++j) {
        double& w = scaled.row(i)[j];
        w = (w - levels.value(i, j, levels.encode(i, j, w))) / at(j);
      }
    });
    const std::vector<double> pulled = product(scaled.weight.data(), gram.data(), scaled.n, k, k);
    for (size_t i = 0; i < pulled.size(); ++i) total += pulled[i] * scaled.weight[i];
  }
  return total;
}

}  // namespace

std::vector<double> channel_scales(const F64Layer& block, const ModelConfig& config,
                                   LinearInput site, const ChannelScale& scale,
                                   const LinearInputStatistics& inputs,
                                   const ModuleSchemes& schemes) {
  const Channels channels = channels_of(config, site);
  if (scale.rule == ChannelScale::Rule::kMean) return mean_scales(block, channels, site, scale);

  const int64_t k = channels.inputs;
  const auto roots = [](std::vector<double> squares) {
    for (double& x : squares) x = std::sqrt(x);
    return squares;
  };
  if (scale.rule == ChannelScale::Rule::kMaximum) {
    std::vector<double> x(static_cast<size_t>(channels.scales)), w = x;
    for (int64_t j = 0; j < k; ++j) {
      const auto c = size_t(channels.scale_of(j));
      x[c] = std::max(x[c], double(inputs.absmax[size_t(j)]));
      for (const Projection module : linears_reading(site))
        for (int64_t i = 0; i < block[module].n; ++i)
          w[c] = std::max(w[c], std::abs(block[module].row(i)[j]));
    }
    return balance(x, w, scale.power);
  }
  const std::vector<double> squares = over_rows(block, site, [](double w) { return w * w; });
  const std::vector<double> w = roots(channels.fold([&](int64_t j) { return squares[size_t(j)]; }));
  const std::vector<double> x =
      roots(channels.fold([&](int64_t j) { return inputs.gram[size_t(j * k + j)]; }));
  if (scale.rule == ChannelScale::Rule::kBalance) return balance(x, w, scale.power);

  std::vector<double> best;
  double least = INFINITY;
  for (const double power : {0.0, 0.25, 0.5, 0.75, 1.0}) {
    std::vector<double> lambda = balance(x, w, power);
    const double error = rounding_error(block, channels, site, lambda, inputs.gram, schemes);
    if (error < least) least = error, best = std::move(lambda);
  }
  return best;
}

void fold_channel_scales(F64Layer& block, const ModelConfig& config, LinearInput site,
                         const std::vector<double>& lambda) {
  const Channels channels = channels_of(config, site);
  for (const Projection module : linears_reading(site))
    for (int64_t j = 0; j < channels.inputs; ++j)
      block[module].scale_input(j, lambda[size_t(channels.scale_of(j))]);
  for (int64_t c = 0; c < channels.scales; ++c) {
    const double factor = 1 / lambda[size_t(c)];
    switch (site) {
      case LinearInput::kAttention:
        block.input_layernorm[size_t(c)] *= factor;
        break;
      case LinearInput::kMlp:
        block.post_attention_layernorm[size_t(c)] *= factor;
        break;
      case LinearInput::kAttentionOut:
        block[Projection::kV].scale_output(c, factor);
        break;
      case LinearInput::kMlpDown:
        block[Projection::kUp].scale_output(c, factor);
        break;
    }
  }
}

void scale_values(F64Layer& block, double factor) {
  F64Linear &v = block[Projection::kV], &o = block[Projection::kO];
  for (int64_t i = 0; i < v.n; ++i) v.scale_output(i, factor);
  for (int64_t j = 0; j < o.k; ++j) o.scale_input(j, 1 / factor);
}

}  // namespace emberq
