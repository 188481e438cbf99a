#include <algorithm>
#include <vector>

#include "base/parallel.h"
#include "format/kv_code.h"
#include "ops/cpu/cpu_backend.h"
#include "ops/cpu/exp.h"
#include "ops/cpu/round.h"
#include "ops/cpu/row_quantizer.h"
#include "ops/cpu/sgemm.h"

namespace emberq::cpu {
namespace {

constexpr int64_t kBlockRows = 128;  // queries that one task takes: its scores stay in the L2 cache

// Keys or values of one head at positions [0, length) as floats, [length, head_dim]: in the cache
// itself, or decoded into `scratch`.
const float* read_head(const KvLayer& cache, const void* data, const void* scales, int64_t head,
                       int64_t length, std::vector<float>& scratch) {
  const int64_t first = head * cache.capacity, head_dim = cache.head_dim;
  if (cache.scheme == KvScheme::kFp) return static_cast<const float*>(data) + first * head_dim;
  scratch.resize(size_t(length * head_dim));
  with_kv_code(cache.scheme, [&]<class Code>(Code) {
    for (int64_t i = 0; i < length; ++i)
      kv_decode<Code>(static_cast<const uint8_t*>(data) + (first + i) * head_dim * Code::kBits / 8,
                      static_cast<const typename Code::Scale*>(scales)[first + i],
                      {scratch.data() + i * head_dim, size_t(head_dim)});
  });
  return scratch.data();
}

// What probabilities are multiplied by before they are rounded, and the rounding.
template <ProbabilityScheme kScheme>
constexpr float kLift = kScheme == ProbabilityScheme::kFp8 ? kFp8Max : 1.0f;

template <ProbabilityScheme kScheme>
float round_lifted(float e) {
  if constexpr (kScheme == ProbabilityScheme::kFp8) return round_to_e4m3(e);
  if constexpr (kScheme == ProbabilityScheme::kFp16) return round_to_fp16(e);
  return e;
}

// softmax(scale * scores) over [begin, end), zeros elsewhere in [0, length); rounded by the scheme
// before the division by the sum of what was not.
template <ProbabilityScheme kScheme>
void softmax(float* scores, int64_t length, int64_t begin, int64_t end, float scale) {
  std::fill(scores, scores + begin, 0.0f);
  std::fill(scores + end, scores + length, 0.0f);
  float largest = scores[begin];
#pragma omp simd reduction(max : largest)
  for (int64_t i = begin; i < end; ++i) largest = std::max(largest, scores[i]);
  float sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t i = begin; i < end; ++i) {
    const float e = exp_negative(scale * (scores[i] - largest));
    sum += e;
    scores[i] = round_lifted<kScheme>(kLift<kScheme> * e);
  }
  const float inverse = 1 / (kLift<kScheme> * sum);
  for (int64_t i = begin; i < end; ++i) scores[i] *= inverse;
}

using Softmax = decltype(softmax<ProbabilityScheme::kNone>)*;

Softmax softmax_of(ProbabilityScheme scheme) {
  switch (scheme) {
    case ProbabilityScheme::kFp8:
      return softmax<ProbabilityScheme::kFp8>;
    case ProbabilityScheme::kFp16:
      return softmax<ProbabilityScheme::kFp16>;
    default:
      return softmax<ProbabilityScheme::kNone>;
  }
}

struct Head {
  const float* key;
  const float* value;
  const float* value_mean;  // [head_dim] or null
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
  const Softmax softmax_row = softmax_of(op.probability);
  for (int64_t r = 0; r < rows; ++r) {
    const int64_t position = op.position + first + r;
    softmax_row(scores.data() + r * length, length, begin_of(position) - begin,
                position + 1 - begin, op.scale);
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
  for (int64_t r = 0; kv.value_mean && r < rows; ++r) {
    float* out = op.out.f32().row(first + r) + h * head_dim;
    for (int64_t c = 0; c < head_dim; ++c) out[c] += kv.value_mean[c];
  }
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
    parallel_for(0, op.query.rows,
                 [&](int64_t r) { load_row(op.query, r, true, values + r * op.query.dim); });
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
                 read_head(cache, cache.value, cache.value_scale, h, length, values[i]),
                 op.value_mean ? op.value_mean + h * cache.head_dim : nullptr};
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
