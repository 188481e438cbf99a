#include "quant/calibration.h"

#include <algorithm>
#include <cmath>

#include "base/check.h"
#include "base/parallel.h"
#include "base/progress.h"

namespace emberq {
namespace {

// Keys [tokens, head_dim] of one head into its statistics.
void add_keys(const float* keys, int64_t tokens, int64_t head, KeyStatistics& statistics) {
  const int64_t d = statistics.head_dim, half = d / 2;
  float* absmax = statistics.channel_absmax.data() + head * d;
  float* radius = statistics.pair_radius.data() + head * half;
  for (int64_t t = 0; t < tokens; ++t, keys += d)
    for (int64_t j = 0; j < half; ++j) {
      const float a = keys[j], b = keys[j + half];
      absmax[j] = std::max(absmax[j], std::fabs(a));
      absmax[j + half] = std::max(absmax[j + half], std::fabs(b));
      radius[j] =
          std::max(radius[j], float(std::sqrt(double(a) * double(a) + double(b) * double(b))));
    }
}

}  // namespace

std::vector<KeyStatistics> collect_key_statistics(Model& model, std::span<const int> ids,
                                                  int64_t windows, int64_t length) {
  const ModelConfig& config = model.config();
  const KvCacheShape shape = model.cache_shape();
  EMBERQ_CHECK(shape.scheme == KvScheme::kFp && model.backend().activation_type() == DType::kF32,
               "calibration reads keys of F32, not {}", name(shape.scheme));
  EMBERQ_REQUIRE(windows > 0 && length > 0, "calibration needs at least one window of one token");
  EMBERQ_REQUIRE(int64_t(ids.size()) >= windows * length,
                 "the calibration text has {} tokens, {} windows of {} need {}", ids.size(),
                 windows, length, windows * length);

  const size_t channels = size_t(shape.kv_heads * shape.head_dim);
  std::vector<KeyStatistics> statistics(
      size_t(shape.layers), {shape.kv_heads, shape.head_dim, std::vector<float>(channels),
                             std::vector<float>(channels / 2)});
  KvCache cache = model.make_cache(length);
  std::vector<float> keys(channels * size_t(length));
  Progress progress("calibrate", windows);
  for (int64_t w = 0; w < windows; ++w) {
    cache.set_length(0);
    model.forward(ids.subspan(size_t(w * length), size_t(length)), cache);
    for (int64_t layer = 0; layer < config.num_layers; ++layer) {
      model.backend().download(keys.data(), cache.layer(layer).key, keys.size() * sizeof(float));
      model.backend().synchronize();
      parallel_for(0, shape.kv_heads, [&](int64_t h) {
        add_keys(keys.data() + h * length * shape.head_dim, length, h, statistics[size_t(layer)]);
      });
    }
    progress.step();
  }
  return statistics;
}

}  // namespace emberq
