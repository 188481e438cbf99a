#include <algorithm>
#include <cmath>
#include <vector>

#include "base/parallel.h"
#include "format/hadamard.h"
#include "format/kv_encode.h"
#include "ops/cpu/cpu_backend.h"
#include "ops/cpu/row_quantizer.h"

namespace emberq::cpu {
namespace {

// What happens to a head of q or k, in this order; null where it does not.
struct Transform {
  const float* norm = nullptr;  // [head_dim], as all below
  float eps = 0;
  const float *cos = nullptr, *sin = nullptr;  // [head_dim / 2]
  const float* mean = nullptr;
  const float* scale = nullptr;
  const Hadamard* hadamard = nullptr;
};

void subtract(float* head, const float* mean, int64_t head_dim) {
  if (mean)
    for (int64_t c = 0; c < head_dim; ++c) head[c] -= mean[c];
}

void apply(const Transform& by, float* head, int64_t head_dim) {
  if (by.norm) {
    double sum = 0;
    for (int64_t c = 0; c < head_dim; ++c) sum += double(head[c]) * double(head[c]);
    const float inverse = float(1 / std::sqrt(sum / double(head_dim) + double(by.eps)));
    for (int64_t c = 0; c < head_dim; ++c) head[c] = head[c] * inverse * by.norm[c];
  }
  const int64_t half = head_dim / 2;
  for (int64_t j = 0; j < half; ++j) {
    // One product is rounded and one is not, on every backend: the codes are then the same.
    const float a = head[j], b = head[j + half];
    head[j] = std::fma(a, by.cos[j], -(b * by.sin[j]));
    head[j + half] = std::fma(b, by.cos[j], a * by.sin[j]);
  }
  subtract(head, by.mean, head_dim);
  if (by.scale)
    for (int64_t c = 0; c < head_dim; ++c) head[c] *= by.scale[c];
  if (by.hadamard) (*by.hadamard)(head);
}

// One head into the cache, where KvLayer::index() says.
void store(const KvLayer& cache, void* data, void* scales, int64_t index, const float* head) {
  const int64_t head_dim = cache.head_dim;
  if (cache.scheme == KvScheme::kFp) {
    std::copy_n(head, head_dim, static_cast<float*>(data) + index * head_dim);
    return;
  }
  with_kv_code(cache.scheme, [&]<class Code>(Code) {
    uint8_t* codes = static_cast<uint8_t*>(data) + index * head_dim * Code::kBits / 8;
    static_cast<typename Code::Scale*>(scales)[index] =
        kv_encode<Code>({head, size_t(head_dim)}, codes);
  });
}

}  // namespace

void rope_append_kv(const RopeAppendKv& op) {
  const KvLayer& cache = op.cache;
  const Batch& batch = op.batch;
  std::vector<const int32_t*> pages_of;  // the pages of each token's sequence
  for (int64_t s = 0; s < batch.sequences(); ++s)
    pages_of.insert(pages_of.end(), size_t(batch.on_host[size_t(s)].new_tokens),
                    batch.pages + s * batch.max_pages);
  const int64_t head_dim = cache.head_dim, heads = op.heads(), group = heads / cache.kv_heads;
  const Hadamard transform(head_dim);
  parallel_for(0, op.tokens(), [&](int64_t t) {
    thread_local std::vector<float> work;
    work.resize(size_t(head_dim));
    float* head = work.data();
    const auto load = [&](const Activations& x, int64_t stride, int64_t h) {
      const float* row = x.f32().row(0) + t * (stride ? stride : x.dim);
      std::copy_n(row + h * head_dim, head_dim, head);
    };
    const auto of_kv_head = [&](const float* vectors, int64_t kv_head) {
      return vectors ? vectors + kv_head * head_dim : nullptr;
    };
    const int64_t position = batch.positions[t];
    const int64_t page = pages_of[size_t(t)][position / cache.page_tokens];
    Transform by{.eps = op.eps,
                 .cos = op.cos + position * head_dim / 2,
                 .sin = op.sin + position * head_dim / 2,
                 .hadamard = op.hadamard ? &transform : nullptr};
    by.norm = op.q_norm;
    for (int64_t h = 0; h < heads; ++h) {
      load(op.q, op.q_stride, h);
      by.scale = of_kv_head(op.query_scale, h / group);
      apply(by, head, head_dim);
      store_row(op.query, t * heads + h, head);
    }
    by.norm = op.k_norm;
    for (int64_t h = 0; h < cache.kv_heads; ++h) {
      const int64_t index = cache.index(page, h, position % cache.page_tokens);
      load(op.k, op.k_stride, h);
      by.mean = of_kv_head(op.key_mean, h), by.scale = of_kv_head(op.key_scale, h);
      apply(by, head, head_dim);
      store(cache, cache.key, cache.key_scale, index, head);
      load(op.v, op.v_stride, h);
      subtract(head, of_kv_head(op.value_mean, h), head_dim);
      store(cache, cache.value, cache.value_scale, index, head);
    }
  });
}

}  // namespace emberq::cpu
