#include "quant/transform/rope_scale.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <numeric>

namespace emberq {

std::vector<PostRopeScale> post_rope_scale(const KeyStatistics& keys,
                                           const Recipe::PostRope& options) {
  const int64_t head_dim = keys.head_dim;
  std::vector<PostRopeScale> heads;
  for (int64_t h = 0; h < keys.kv_heads; ++h) {
    const float* largest = keys.channel_absmax.data() + h * head_dim;
    std::vector<int> order(static_cast<size_t>(head_dim));
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(),
                     [&](int a, int b) { return largest[a] > largest[b]; });

    std::vector<bool> listed(order.size());
    for (int64_t i = 0; i < std::min<int64_t>(options.top_k, head_dim); ++i) {
      listed[size_t(order[size_t(i)])] = true;
      listed[size_t((order[size_t(i)] + head_dim / 2) % head_dim)] = true;
    }
    PostRopeScale& head = heads.emplace_back();
    for (int c = 0; c < head_dim; ++c) {
      if (!listed[size_t(c)]) continue;
      head.channels.push_back(c);
      head.scale.push_back(largest[c] > 0 ? float(options.beta / double(largest[c])) : 1.0f);
    }
  }
  return heads;
}

namespace {

// Every head gets what `combine` makes of all heads' values at a pair.
template <class T, class Combine>
void share(std::vector<T>& values, size_t heads, const Combine& combine) {
  const size_t half = values.size() / heads;
  for (size_t j = 0; j < half; ++j) {
    T all = values[j];
    for (size_t h = 1; h < heads; ++h) all = combine(all, values[h * half + j]);
    for (size_t h = 0; h < heads; ++h) values[h * half + j] = all;
  }
}

// With a geometric mean of 1 over each head, so that K and Q keep their size.
void normalize(std::vector<double>& scale, size_t heads) {
  const size_t half = scale.size() / heads;
  for (size_t h = 0; h < heads; ++h) {
    double logs = 0;
    for (size_t j = 0; j < half; ++j) logs += std::log(scale[h * half + j]);
    for (size_t j = 0; j < half; ++j) scale[h * half + j] /= std::exp(logs / double(half));
  }
}

}  // namespace

std::vector<double> pre_rope_scale(const KeyStatistics& keys,
                                   const std::vector<PostRopeScale>& post_rope,
                                   const Recipe::PreRope& options, bool shared) {
  using Rule = Recipe::PreRope::Rule;
  const size_t half = size_t(keys.head_dim / 2), heads = size_t(keys.kv_heads);
  std::vector<double> radius(keys.pair_radius.begin(), keys.pair_radius.end());
  std::vector<double> key = keys.key_power, query = keys.query_power;
  std::vector<char> handled(heads * half);
  for (size_t h = 0; h < post_rope.size(); ++h)
    for (const int c : post_rope[h].channels) handled[h * half + size_t(c) % half] = 1;
  if (shared) {
    share(radius, heads, [](double a, double b) { return std::max(a, b); });
    share(handled, heads, [](char a, char b) { return char(a | b); });
    share(key, heads, std::plus<double>());
    share(query, heads, std::plus<double>());
  }

  std::vector<double> scale(radius.size(), 1.0);
  for (size_t i = 0; i < scale.size(); ++i) {
    if (handled[i] || radius[i] == 0) continue;
    if (options.rule == Rule::kRadius)
      scale[i] = options.alpha / radius[i];
    else if (options.rule == Rule::kMaximum)
      scale[i] = std::pow(radius[i], -options.power);
    else if (query[i] > 0)
      scale[i] = std::pow(query[i] / key[i], options.power / 2);
  }
  if (options.rule == Rule::kBalance) normalize(scale, heads);
  return scale;
}

void fold_pre_rope_scale(F64Layer& block, const ModelConfig& config,
                         const std::vector<double>& scale) {
  const int64_t head_dim = config.head_dim, half = head_dim / 2;
  const int64_t group = config.num_heads / config.num_kv_heads;
  const auto of = [&](int64_t kv_head, int64_t c) {
    return scale[size_t(kv_head * half + c % half)];
  };
  if (config.qk_norm) {
    for (int64_t c = 0; c < head_dim; ++c) {
      block.k_norm[size_t(c)] *= of(0, c);
      block.q_norm[size_t(c)] /= of(0, c);
    }
    return;
  }
  for (int64_t i = 0; i < config.num_kv_heads * head_dim; ++i)
    block[Projection::kK].scale_output(i, of(i / head_dim, i % head_dim));
  for (int64_t i = 0; i < config.num_heads * head_dim; ++i)
    block[Projection::kQ].scale_output(i, 1 / of(i / head_dim / group, i % head_dim));
}

}  // namespace emberq
