#include <algorithm>
#include <vector>

#include "base/parallel.h"
#include "ops/cpu/cpu_backend.h"
#include "ops/cpu/exp.h"
#include "ops/cpu/kv_pages.h"
#include "ops/cpu/round.h"
#include "ops/cpu/row_quantizer.h"
#include "ops/cpu/sgemm.h"

namespace emberq::cpu {
namespace {

constexpr int64_t kBlockRows = 128;  // queries that one task takes: its scores stay in the L2 cache

// One sequence of the batch: its rows, the positions they are at, and its pages.
struct Sequence {
  int64_t first_row = 0, tokens = 0, position = 0;
  const int32_t* pages = nullptr;

  int64_t length() const { return position + tokens; }
};

// Keys or values of one head of the sequence as floats, [length, head_dim]: in the cache itself,
// where one page has them all, or read into `scratch`.
const float* read_head(const KvLayer& cache, const void* data, const void* scales, int64_t head,
                       const Sequence& sequence, std::vector<float>& scratch) {
  const int64_t length = sequence.length();
  if (cache.scheme == KvScheme::kFp && length <= cache.page_tokens)
    return static_cast<const float*>(data) +
           cache.index(sequence.pages[0], head, 0) * cache.head_dim;
  scratch.resize(size_t(length * cache.head_dim));
  read_pages(cache, data, scales, sequence.pages, head, length, scratch.data());
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

// Tokens [first, first + rows) of the sequence, query head h.
void attend(const Attention& op, const float* query, const Sequence& sequence, const Head& kv,
            int64_t h, int64_t first, int64_t rows) {
  const int64_t head_dim = op.cache.head_dim, stride = op.heads() * head_dim;
  const int64_t first_row = sequence.first_row + first, position = sequence.position + first;
  const int64_t end = position + rows;  // keys that the block's last row sees
  const auto begin_of = [&](int64_t p) {
    return op.window > 0 ? std::max<int64_t>(0, p + 1 - op.window) : 0;
  };
  const int64_t begin = begin_of(position), length = end - begin;
  thread_local std::vector<float> scores;
  scores.resize(size_t(rows * length));
  sgemm({.m = rows,
         .n = length,
         .k = head_dim,
         .a = query + first_row * stride + h * head_dim,
         .a_stride = stride,
         .b = kv.key + begin * head_dim,
         .b_stride = head_dim,
         .op_b = Op::kTranspose,
         .c = scores.data(),
         .c_stride = length});
  const Softmax softmax_row = softmax_of(op.probability);
  for (int64_t r = 0; r < rows; ++r)
    softmax_row(scores.data() + r * length, length, begin_of(position + r) - begin,
                position + r + 1 - begin, op.scale);
  sgemm({.m = rows,
         .n = head_dim,
         .k = length,
         .a = scores.data(),
         .a_stride = length,
         .b = kv.value + begin * head_dim,
         .b_stride = head_dim,
         .c = op.out.f32().row(first_row) + h * head_dim,
         .c_stride = stride});
  for (int64_t r = 0; kv.value_mean && r < rows; ++r) {
    float* out = op.out.f32().row(first_row + r) + h * head_dim;
    for (int64_t c = 0; c < head_dim; ++c) out[c] += kv.value_mean[c];
  }
}

// Below this many multiply-adds, waking threads costs more than the work.
constexpr int64_t kWorthThreads = 1 << 18;

int64_t work_of(const Attention& op, const Sequence& sequence) {
  return op.heads() * sequence.tokens * sequence.length() * op.cache.head_dim;
}

void attend_sequence(const Attention& op, const float* query, const Sequence& sequence) {
  const KvLayer& cache = op.cache;
  const int64_t heads = op.heads(), group = heads / cache.kv_heads;
  const int64_t grain = work_of(op, sequence) < kWorthThreads ? heads : 1;
  std::vector<std::vector<float>> keys(size_t(cache.kv_heads)), values(size_t(cache.kv_heads));
  std::vector<Head> kv(size_t(cache.kv_heads));
  parallel_for(
      0, cache.kv_heads,
      [&](int64_t h) {
        const auto i = size_t(h);
        kv[i] = {read_head(cache, cache.key, cache.key_scale, h, sequence, keys[i]),
                 read_head(cache, cache.value, cache.value_scale, h, sequence, values[i]),
                 op.value_mean ? op.value_mean + h * cache.head_dim : nullptr};
      },
      grain);

  const int64_t blocks = (sequence.tokens + kBlockRows - 1) / kBlockRows;
  parallel_for(
      0, heads * blocks,
      [&](int64_t task) {
        const int64_t h = task % heads;
        const int64_t first = (blocks - 1 - task / heads) * kBlockRows;  // the longest first
        attend(op, query, sequence, kv[size_t(h / group)], h, first,
               std::min(kBlockRows, sequence.tokens - first));
      },
      grain);
}

}  // namespace

void attention(const Attention& op) {
  thread_local std::vector<float> decoded_query;
  const float* query = static_cast<const float*>(op.query.data);
  if (op.query.quantized()) {
    decoded_query.resize(size_t(op.query.rows * op.query.dim));
    float* values = decoded_query.data();
    parallel_for(0, op.query.rows,
                 [&](int64_t r) { load_row(op.query, r, true, values + r * op.query.dim); });
    query = values;
  }

  // Sequences with work for all threads come one after another, the others side by side.
  std::vector<Sequence> small;
  int64_t row = 0;
  for (int64_t s = 0; s < op.batch.sequences(); ++s) {
    const BatchSequence& host = op.batch.on_host[size_t(s)];
    const Sequence sequence{row, host.new_tokens, host.kv_length - host.new_tokens,
                            op.batch.pages + s * op.batch.max_pages};
    row += host.new_tokens;
    if (work_of(op, sequence) < kWorthThreads)
      small.push_back(sequence);
    else
      attend_sequence(op, query, sequence);
  }
  parallel_for(0, int64_t(small.size()),
               [&](int64_t i) { attend_sequence(op, query, small[size_t(i)]); });
}

}  // namespace emberq::cpu
