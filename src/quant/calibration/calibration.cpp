#include "quant/calibration/calibration.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "base/check.h"
#include "base/interrupt.h"
#include "base/parallel.h"
#include "format/fp8.h"
#include "model/token_ids.h"
#include "quant/rounding/linear_algebra.h"

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
      pool_(backend, {kv, 1, config.num_kv_heads, config.head_dim}, windows.length, 1),
      sequence_(pool_) {
  EMBERQ_CHECK(backend.activation_type() == DType::kF32, "calibration runs in F32, not {}",
               name(backend.activation_type()));
  const KvPool::Growth whole[] = {{&sequence_, length_}};
  pool_.reserve(whole);
  const BatchEntry entry[] = {{length_, &sequence_}};
  runner_.begin(entry);
  for (const std::vector<int>& ids : windows.ids) {
    require_in_vocabulary(ids, embedding.n, "the model's input");
    runner_.set_ids(ids);
    runner_.embed(embedding);
    hidden_.push_back(take(runner_.hidden()));
  }
  kept_.resize(hidden_.size());
}

void CalibrationStream::load(int64_t window) {
  check_interrupt();
  const std::vector<float>& values = hidden_[size_t(window)];
  backend_->upload(runner_.hidden().data, values.data(), values.size() * sizeof(float));
}

void CalibrationStream::store(int64_t window) {
  download(hidden_[size_t(window)], runner_.hidden().data, hidden_[size_t(window)].size());
}

template <class T>
void CalibrationStream::download(std::vector<T>& to, const void* from, size_t count) {
  to.resize(count);
  backend_->download(to.data(), from, count * sizeof(T));
  backend_->synchronize();
}

// Into taken_; [rows, dim], codes times scales.
const std::vector<float>& CalibrationStream::take(const Activations& x) {
  const auto count = size_t(x.rows * x.dim);
  taken_.window = -1;
  taken_.at = x;
  if (!x.quantized()) {
    download(taken_.values, x.data, count);
    return taken_.values;
  }
  download(taken_.codes, x.data, count);
  download(taken_.values, x.scale, size_t(x.rows * x.scales_per_row()));
  decoded_.resize(count);
  const int64_t group = x.group ? x.group : x.dim;
  parallel_for(0, x.rows, [&](int64_t r) {
    for (int64_t c = 0; c < x.dim; ++c) {
      const uint8_t code = taken_.codes[size_t(r * x.dim + c)];
      const float value = x.dtype == DType::kI8 ? float(int8_t(code)) : fp8_decode(code);
      decoded_[size_t(r * x.dim + c)] =
          value * taken_.values[size_t(r * x.scales_per_row() + c / group)];
    }
  });
  return decoded_;
}

Activations CalibrationStream::run_to(const DecoderLayer& layer, LinearInput site) {
  switch (site) {
    case LinearInput::kAttention:
      return runner_.qkv_input(layer);
    case LinearInput::kAttentionOut:
      return runner_.o_input(layer, runner_.qkv_input(layer), pool_.layer(0));
    case LinearInput::kMlp:
      return runner_.gate_up_input(layer);
    default:
      return runner_.down_input(layer, runner_.gate_up_input(layer));
  }
}

const std::vector<float>& CalibrationStream::input(const DecoderLayer& layer, int64_t window,
                                                   LinearInput site) {
  load(window);
  const std::vector<float>& values = take(run_to(layer, site));
  taken_.window = window;
  return values;
}

void CalibrationStream::keep() {
  const auto window = size_t(taken_.window);
  kept_[window] = std::exchange(taken_, {});
}

void CalibrationStream::add(const DecoderLayer& layer, int64_t window, LinearInput site) {
  Activations x = taken_.at;
  if (taken_.window != window) {
    const Input kept = std::exchange(kept_[size_t(window)], {});
    EMBERQ_CHECK(kept.window == window, "no input of window {} was taken", window);
    load(window);
    x = kept.at;
    const bool quantized = x.quantized();
    if (quantized) backend_->upload(x.data, kept.codes.data(), kept.codes.size());
    backend_->upload(quantized ? x.scale : x.data, kept.values.data(),
                     kept.values.size() * sizeof(float));
  }
  taken_.window = -1;
  site == LinearInput::kAttentionOut ? runner_.add_o(layer, x) : runner_.add_down(layer, x);
  store(window);
}

void CalibrationStream::advance(const DecoderLayer& layer) {
  for (int64_t w = 0; w < windows(); ++w) {
    load(w);
    runner_.run(layer, pool_.layer(0));
    store(w);
  }
}

void CalibrationStream::add_site(const Activations& x, LinearInput site,
                                 LayerStatistics& statistics) {
  LinearInputStatistics& s = statistics.sites[size_t(site)];
  const std::vector<float>& values = take(x);
  if (!s.gram.empty()) add_gram(values.data(), x.rows, x.dim, s.gram);
  s.absmax.resize(size_t(x.dim));
  for (int64_t r = 0; r < x.rows; ++r)
    for (int64_t c = 0; c < x.dim; ++c)
      s.absmax[size_t(c)] = std::max(s.absmax[size_t(c)], std::fabs(values[size_t(r * x.dim + c)]));
}

void CalibrationStream::add_keys(KeyStatistics& keys) {
  const int64_t d = config_->head_dim, half = d / 2, heads = config_->num_heads;
  const int64_t group = heads / config_->num_kv_heads;
  const auto count = size_t(keys.kv_heads * length_ * d);
  const Buffer stored(*backend_, 2 * count * sizeof(float));
  backend_->run(ReadKv{.batch = runner_.batch(),
                       .cache = pool_.layer(0),
                       .length = length_,
                       .key = stored.as<float>(),
                       .value = stored.as<float>() + count});
  std::vector<float> key, value;
  download(key, stored.as<float>(), count);
  download(value, stored.as<float>() + count, count);
  parallel_for(0, keys.kv_heads, [&](int64_t h) {
    add_head(key.data() + h * length_ * d, value.data() + h * length_ * d, length_, h, keys);
  });
  const std::vector<float>& query = take(runner_.queries());
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

LayerStatistics CalibrationStream::statistics(const DecoderLayer& layer, int64_t stride,
                                              const std::vector<LinearInput>& grams) {
  EMBERQ_CHECK(pool_.shape().scheme == KvScheme::kFp, "statistics of a cache of {}",
               name(pool_.shape().scheme));
  LayerStatistics statistics{.keys = empty_keys(*config_)};
  for (const LinearInput site : grams) {
    const auto k = size_t(inputs(*config_, site));
    statistics.sites[size_t(site)].gram.resize(k * k);
  }
  for (int64_t w = 0; w < windows(); w += stride) {
    const auto look = [&](const Activations& x, LinearInput site) {
      add_site(x, site, statistics);
      return x;
    };
    load(w);
    const Activations o = runner_.o_input(
        layer, look(runner_.qkv_input(layer), LinearInput::kAttention), pool_.layer(0));
    add_keys(statistics.keys);
    runner_.add_o(layer, look(o, LinearInput::kAttentionOut));
    look(runner_.down_input(layer, look(runner_.gate_up_input(layer), LinearInput::kMlp)),
         LinearInput::kMlpDown);
  }
  return statistics;
}

KeyStatistics CalibrationStream::keys(const DecoderLayer& layer, int64_t stride) {
  KeyStatistics keys = empty_keys(*config_);
  for (int64_t w = 0; w < windows(); w += stride) {
    load(w);
    runner_.o_input(layer, runner_.qkv_input(layer), pool_.layer(0));
    add_keys(keys);
  }
  return keys;
}

double CalibrationStream::cache_error(const DecoderLayer& layer, int64_t stride) {
  // Of one page too, which has the same number.
  const KvPool exact(*backend_, {KvScheme::kFp, 1, config_->num_kv_heads, config_->head_dim},
                     length_, 1);
  std::vector<float> wanted;
  RelativeError error;
  for (int64_t w = 0; w < windows(); w += stride) {
    const auto past_attention = [&](const KvPool& pool) -> const std::vector<float>& {
      load(w);
      runner_.add_o(layer, runner_.o_input(layer, runner_.qkv_input(layer), pool.layer(0)));
      return take(runner_.hidden());
    };
    wanted = past_attention(exact);
    error.add(wanted, past_attention(pool_));
  }
  return error.value();
}

}  // namespace emberq
