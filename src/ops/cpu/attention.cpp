#include <algorithm>
#include <vector>

#include "base/parallel.h"
#include "format/int4.h"
#include "ops/cpu/cpu_backend.h"
#include "ops/cpu/exp.h"
#include "ops/cpu/fp8_table.h"
#include "ops/cpu/sgemm.h"

namespace emberq::cpu {
namespace {

constexpr int64_t kBlockRows = 128;  // queries that one task takes: its scores stay in the L2 cache

// Keys or values of one head at positions [0, length) as floats, [length, head_dim]: in the cache
// itself, or decoded into `scratch`.
const float* read_head(const KvLayer& cache, const void* data, const uint8_t* scales, int64_t head,
                       int64_t length, std::vector<float>& scratch) {
  const int64_t first = head * cache.capacity, head_dim = cache.head_dim;
  if (cache.scheme == KvScheme::kFp) return static_cast<const float*>(data) + first * head_dim;
  scratch.resize(size_t(length * head_dim));
  for (int64_t i = 0; i < length; ++i) {
    const uint8_t* codes = static_cast<const uint8_t*>(data) + (first + i) * head_dim / 2;
    const float scale = kFp8Values[scales[first + i]];
    float* to = scratch.data() + i * head_dim;
    for (int64_t c = 0; c < head_dim; c += 2) {
      to[c] = float(int4_decode(codes[c / 2])) * scale;
      to[c + 1] = float(int4_decode(uint8_t(codes[c / 2] >> 4))) * scale;
    }
  }
  return scratch.data();
}

// softmax(scale * scores) over [begin, end), zeros elsewhere in [0, length).
void softmax(float* scores, int64_t length, int64_t begin, int64_t end, float scale) {
  std::fill(scores, scores + begin, 0.0f);
  std::fill(scores + end, scores + length, 0.0f);
  float largest = scores[begin];
#pragma omp simd reduction(max : largest)
  for (int64_t i = begin; i < end; ++i) largest = std::max(largest, scores[i]);
  float sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t i = begin; i < end; ++i) {
    scores[i] = exp_negative(scale * (scores[i] - largest));
    sum += scores[i];
  }
  const float inverse = 1 / sum;
  for (int64_t i = begin; i < end; ++i) scores[i] *= inverse;
}

struct Head {
  const float* key;
  const float* value;
};

// Tokens [first, first + rows) of query head h.
void attend(const Attention& op, const float* query, const Head& kv, int64_t h, int64_t first,
            int64_t rows) {
  const int64_t head_dim = op.cache.head_dim, stride = op.heads() * head_dim;
  const int64_t end = op.position + first + rows;  // keys that the block's last row sees
  const auto begin_of = [&](int64_t position) {
    return op.window > 0 ? std::max<int64_t>(0, position + 1 - op.window) : 0;
  };
  const int64_t begin = begin_of(op.position + first), length = end - begin;
  thread_local std::vector<float> scores;
  scores.resize(size_t(rows * length));
  sgemm({.m = rows,
         .n = length,
         .k = head_dim,
         .a = query + first * stride + h * head_dim,
         .a_stride = stride,
         .b = kv.key + begin * head_dim,
         .b_stride = head_dim,
         .op_b = Op::kTranspose,
         .c = scores.data(),
         .c_stride = length});
  for (int64_t r = 0; r < rows; ++r) {
    const int64_t position = op.position + first + r;
    softmax(scores.data() + r * length, length, begin_of(position) - begin, position + 1 - begin,
            op.scale);
  }
  sgemm({.m = rows,
         .n = head_dim,
         .k = length,
         .a = scores.data(),
         .a_stride = length,
         .b = kv.value + begin * head_dim,
         .b_stride = head_dim,
         .c = op.out.f32().row(first) + h * head_dim,
         .c_stride = stride});
}

}  // namespace

void attention(const Attention& op) {
  const KvLayer& cache = op.cache;
  const int64_t heads = op.heads(), group = heads / cache.kv_heads;
  const int64_t length = op.position + op.tokens();

  thread_local std::vector<float> decoded_query;
  const float* query = static_cast<const float*>(op.query.data);
  if (op.query.quantized()) {
    decoded_query.resize(size_t(op.query.rows * op.query.dim));
    float* values = decoded_query.data();
    parallel_for(0, op.query.rows, [&](int64_t r) {
      for (int64_t c = 0; c < op.query.dim; ++c)
        values[r * op.query.dim + c] = kFp8Values[op.query.codes().row(r)[c]] * op.query.scale[r];
    });
    query = values;
  }

  // Below some 2^18 products in all, one thread is done before others have woken.
  const int64_t grain = heads * op.tokens() * length * cache.head_dim < (1 << 18) ? heads : 1;
  std::vector<std::vector<float>> keys(size_t(cache.kv_heads)), values(size_t(cache.kv_heads));
  std::vector<Head> kv(size_t(cache.kv_heads));
  parallel_for(
      0, cache.kv_heads,
      [&](int64_t h) {
        const auto i = size_t(h);
        kv[i] = {read_head(cache, cache.key, cache.key_scale, h, length, keys[i]),
                 read_head(cache, cache.value, cache.value_scale, h, length, values[i])};
      },
      grain);

  const int64_t blocks = (op.tokens() + kBlockRows - 1) / kBlockRows;
  parallel_for(
      0, heads * blocks,
      [&](int64_t task) {
        const int64_t h = task % heads;
        const int64_t first = (blocks - 1 - task / heads) * kBlockRows;  // the longest first
        attend(op, query, kv[size_t(h / group)], h, first,
               std::min(kBlockRows, op.tokens() - first));
      },
      grain);
}

}  // namespace emberq::cpu
