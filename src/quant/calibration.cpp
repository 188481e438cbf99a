#include "quant/calibration.h"

#include <algorithm>
#include <cmath>

#include "base/check.h"
#include "base/interrupt.h"
#include "base/parallel.h"
#include "format/fp8.h"
#include "quant/linear_algebra.h"

namespace emberq {
namespace {

KeyStatistics empty_keys(const ModelConfig& config) {
  const auto channels = size_t(config.num_kv_heads * config.head_dim);
  KeyStatistics keys{.kv_heads = config.num_kv_heads, .head_dim = config.head_dim};
  keys.channel_absmax.resize(channels);
  keys.pair_radius.resize(channels / 2);
  keys.key_power.resize(channels / 2);
  keys.query_power.resize(channels / 2);
  keys.key_sum.resize(channels);
  keys.value_sum.resize(channels);
  return keys;
}

// The keys and values [length, head_dim] of one KV head.
void add_head(const float* key, const float* value, int64_t length, int64_t head,
              KeyStatistics& keys) {
  const int64_t d = keys.head_dim, half = d / 2;
  for (int64_t t = 0; t < length; ++t, key += d, value += d)
    for (int64_t j = 0; j < half; ++j) {
      const float a = key[j], b = key[j + half];
      const double power = double(a) * double(a) + double(b) * double(b);
      float* absmax = keys.channel_absmax.data() + head * d;
      absmax[j] = std::max(absmax[j], std::fabs(a));
      absmax[j + half] = std::max(absmax[j + half], std::fabs(b));
      float& radius = keys.pair_radius[size_t(head * half + j)];
      radius = std::max(radius, float(std::sqrt(power)));
      keys.key_power[size_t(head * half + j)] += power;
      keys.key_sum[size_t(head * d + j)] += double(a);
      keys.key_sum[size_t(head * d + j + half)] += double(b);
      keys.value_sum[size_t(head * d + j)] += double(value[j]);
      keys.value_sum[size_t(head * d + j + half)] += double(value[j + half]);
    }
}

}  // namespace

CalibrationStream::CalibrationStream(Backend& backend, const ModelConfig& config,
                                     const CalibrationWindows& windows, const Weight& embedding,
                                     KvScheme kv)
    : backend_(&backend),
      config_(&config),
      length_(windows.length),
      runner_(backend, config),
      cache_(backend, {kv, 1, config.num_kv_heads, config.head_dim}, windows.length) {
  EMBERQ_CHECK(backend.activation_type() == DType::kF32, "calibration runs in F32, not {}",
               name(backend.activation_type()));
  runner_.begin(length_, 0);
  for (const std::vector<int>& ids : windows.ids) {
    backend_->upload(runner_.ids(), ids.data(), ids.size() * sizeof(int));
    backend_->run(Embed{.table = &embedding, .ids = runner_.ids(), .out = runner_.hidden()});
    hidden_.push_back(to_float(runner_.hidden()));
  }
}

void CalibrationStream::load(int64_t window) {
  check_interrupt();
  const std::vector<float>& values = hidden_[size_t(window)];
  backend_->upload(runner_.hidden().data, values.data(), values.size() * sizeof(float));
}

std::vector<float> CalibrationStream::download(const void* from, size_t count) {
  std::vector<float> values(count);
  backend_->download(values.data(), from, count * sizeof(float));
  backend_->synchronize();
  return values;
}

std::vector<float> CalibrationStream::to_float(const Activations& x) {
  const auto count = size_t(x.rows * x.dim);
  if (!x.quantized()) return download(x.data, count);
  const std::vector<float> scale = download(x.scale, size_t(x.rows * x.scales_per_row()));
  std::vector<uint8_t> codes(count);
  backend_->download(codes.data(), x.data, count);
  backend_->synchronize();
  std::vector<float> values(count);
  const int64_t group = x.group ? x.group : x.dim;
  parallel_for(0, x.rows, [&](int64_t r) {
    for (int64_t c = 0; c < x.dim; ++c) {
      const uint8_t code = codes[size_t(r * x.dim + c)];
      const float value = x.dtype == DType::kI8 ? float(int8_t(code)) : fp8_decode(code);
      values[size_t(r * x.dim + c)] = value * scale[size_t(r * x.scales_per_row() + c / group)];
    }
  });
  return values;
}

std::vector<float> CalibrationStream::input(const Layer& layer, int64_t window, Site site) {
  load(window);
  switch (site) {
    case Site::kQkv:
      return to_float(runner_.qkv_input(layer));
    case Site::kO:
      return to_float(runner_.o_input(layer, runner_.qkv_input(layer), cache_.layer(0)));
    case Site::kGateUp:
      return to_float(runner_.gate_up_input(layer));
    default:
      return to_float(runner_.down_input(layer, runner_.gate_up_input(layer)));
  }
}

void CalibrationStream::advance_attention(const Layer& layer) {
  for (int64_t w = 0; w < windows(); ++w) {
    load(w);
    runner_.add_o(layer, runner_.o_input(layer, runner_.qkv_input(layer), cache_.layer(0)));
    hidden_[size_t(w)] = to_float(runner_.hidden());
  }
}

void CalibrationStream::advance_mlp(const Layer& layer) {
  for (int64_t w = 0; w < windows(); ++w) {
    load(w);
    runner_.add_down(layer, runner_.down_input(layer, runner_.gate_up_input(layer)));
    hidden_[size_t(w)] = to_float(runner_.hidden());
  }
}

void CalibrationStream::add_site(const Activations& x, Site site, BlockStatistics& statistics) {
  SiteStatistics& s = statistics.sites[size_t(site)];
  const std::vector<float> values = to_float(x);
  add_gram(values.data(), x.rows, x.dim, s.gram);
  s.absmax.resize(size_t(x.dim));
  for (int64_t r = 0; r < x.rows; ++r)
    for (int64_t c = 0; c < x.dim; ++c)
      s.absmax[size_t(c)] = std::max(s.absmax[size_t(c)], std::fabs(values[size_t(r * x.dim + c)]));
}

void CalibrationStream::add_keys(KeyStatistics& keys) {
  const int64_t d = config_->head_dim, half = d / 2, heads = config_->num_heads;
  const int64_t group = heads / config_->num_kv_heads;
  const auto count = size_t(keys.kv_heads * length_ * d);
  const std::vector<float> key = download(cache_.layer(0).key, count);
  const std::vector<float> value = download(cache_.layer(0).value, count);
  parallel_for(0, keys.kv_heads, [&](int64_t h) {
    add_head(key.data() + h * length_ * d, value.data() + h * length_ * d, length_, h, keys);
  });
  const std::vector<float> query = to_float(runner_.queries());
  parallel_for(0, keys.kv_heads, [&](int64_t h) {
    for (int64_t t = 0; t < length_; ++t)
      for (int64_t q = h * group; q < (h + 1) * group; ++q) {
        const float* head = query.data() + (t * heads + q) * d;
        for (int64_t j = 0; j < half; ++j)
          keys.query_power[size_t(h * half + j)] +=
              double(head[j]) * double(head[j]) + double(head[j + half]) * double(head[j + half]);
      }
  });
  keys.tokens += length_;
}

std::vector<std::vector<float>> CalibrationStream::outputs(const Layer& layer, int64_t stride,
                                                           BlockStatistics& statistics) {
  EMBERQ_CHECK(cache_.shape().scheme == KvScheme::kFp, "statistics of a cache of {}",
               name(cache_.shape().scheme));
  statistics.keys = empty_keys(*config_);
  for (const Site site : kSites) {
    const auto k = size_t(inputs(*config_, site));
    statistics.sites[size_t(site)].gram.resize(k * k);
  }
  std::vector<std::vector<float>> result;
  for (int64_t w = 0; w < windows(); ++w) {
    const auto look = [&](const Activations& x, Site site) {
      if (w % stride == 0) add_site(x, site, statistics);
      return x;
    };
    load(w);
    const Activations o =
        runner_.o_input(layer, look(runner_.qkv_input(layer), Site::kQkv), cache_.layer(0));
    if (w % stride == 0) add_keys(statistics.keys);
    runner_.add_o(layer, look(o, Site::kO));
    const Activations x = look(runner_.gate_up_input(layer), Site::kGateUp);
    runner_.add_down(layer, look(runner_.down_input(layer, x), Site::kDown));
    result.push_back(to_float(runner_.hidden()));
  }
  return result;
}

KeyStatistics CalibrationStream::keys(const Layer& layer, int64_t stride) {
  KeyStatistics keys = empty_keys(*config_);
  for (int64_t w = 0; w < windows(); w += stride) {
    load(w);
    runner_.o_input(layer, runner_.qkv_input(layer), cache_.layer(0));
    add_keys(keys);
  }
  return keys;
}

}  // namespace emberq
