#include <algorithm>
#include <cmath>
#include <vector>

#include "base/parallel.h"
#include "format/scale.h"
#include "ops/cpu/cpu_backend.h"
#include "ops/cpu/row_quantizer.h"

namespace emberq::cpu {
namespace {

// One head of q or k: norm, rotation, scale; in place.
void transform(float* head, int64_t head_dim, const float* norm, float eps, const float* cos,
               const float* sin, const float* scale) {
  if (norm) {
    double sum = 0;
    for (int64_t c = 0; c < head_dim; ++c) sum += double(head[c]) * double(head[c]);
    const float inverse = float(1 / std::sqrt(sum / double(head_dim) + double(eps)));
    for (int64_t c = 0; c < head_dim; ++c) head[c] = head[c] * inverse * norm[c];
  }
  const int64_t half = head_dim / 2;
  for (int64_t j = 0; j < half; ++j) {
    const float a = head[j], b = head[j + half];
    head[j] = a * cos[j] - b * sin[j];
    head[j + half] = b * cos[j] + a * sin[j];
  }
  if (scale)
    for (int64_t c = 0; c < head_dim; ++c) head[c] *= scale[c];
}

// One head into the cache at `index` = kv head * capacity + position.
void store(const KvLayer& cache, void* data, uint8_t* scales, int64_t index, const float* head) {
  const int64_t head_dim = cache.head_dim;
  if (cache.scheme == KvScheme::kFp) {
    std::copy_n(head, head_dim, static_cast<float*>(data) + index * head_dim);
    return;
  }
  float absmax = 0;
  for (int64_t c = 0; c < head_dim; ++c) absmax = std::max(absmax, std::fabs(head[c]));
  const E4m3Scale scale = e4m3_scale(absmax, Int4::kMax);
  uint8_t* codes = static_cast<uint8_t*>(data) + index * head_dim / 2;
  for (int64_t c = 0; c < head_dim; c += 2)
    codes[c / 2] = uint8_t(int4_encode(quantize<Int4>(head[c], scale)) |
                           int4_encode(quantize<Int4>(head[c + 1], scale)) << 4);
  scales[index] = scale.code;
}

}  // namespace

void rope_append(const RopeAppend& op) {
  const KvLayer& cache = op.cache;
  const int64_t head_dim = cache.head_dim, heads = op.heads(), group = heads / cache.kv_heads;
  parallel_for(0, op.tokens(), [&](int64_t t) {
    const float *cos = op.cos + t * head_dim / 2, *sin = op.sin + t * head_dim / 2;
    thread_local std::vector<float> work;
    work.resize(size_t(head_dim));
    float* head = work.data();
    const auto load = [&](const Activations& x, int64_t h) {
      std::copy_n(x.f32().row(t) + h * head_dim, head_dim, head);
    };
    const auto scale_of = [&](const float* scales, int64_t kv_head) {
      return scales ? scales + kv_head * head_dim : nullptr;
    };
    for (int64_t h = 0; h < heads; ++h) {
      load(op.q, h);
      transform(head, head_dim, op.q_norm, op.eps, cos, sin, scale_of(op.query_scale, h / group));
      store_row(op.query, t * heads + h, head);
    }
    for (int64_t h = 0; h < cache.kv_heads; ++h) {
      const int64_t index = h * cache.capacity + op.position + t;
      load(op.k, h);
      transform(head, head_dim, op.k_norm, op.eps, cos, sin, scale_of(op.key_scale, h));
      store(cache, cache.key, cache.key_scale, index, head);
      load(op.v, h);
      store(cache, cache.value, cache.value_scale, index, head);
    }
  });
}

}  // namespace emberq::cpu
