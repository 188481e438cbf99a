#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <string>

#include "ops/attention.h"
#include "support/attention_case.h"
#include "support/kv_schemes.h"
#include "support/tolerance.h"

// Attention over heads of 64 and 128 channels with prompts of several tiles, by the definition.
namespace emberq::test {
namespace {

enum class Kind { kNormal, kZeros, kOneLarge };

struct PrefillForm {
  Form form;
  int64_t group = 4;
  Kind kind = Kind::kNormal;
  std::string backend = "cuda";
};

constexpr int64_t kCacheHeads = 2;

Inputs inputs_of(const PrefillForm& f) {
  Inputs in = make_inputs(f.form.tokens, 0, f.form.head_dim, kCacheHeads, f.group);
  // Scores of a few units, so that many keys count.
  for (float& x : in.q_norm) x *= 0.5f;
  if (f.kind == Kind::kZeros) {
    std::fill(in.q.begin(), in.q.end(), 0.0f);
    std::fill(in.k.begin(), in.k.end(), 0.0f);
  }
  // Key 0 and all queries point one way, and the others hardly do: the rest are many small weights.
  if (f.kind == Kind::kOneLarge) {
    for (size_t t = 0; t < size_t(in.tokens); ++t)
      for (size_t c = 0; c < size_t(in.head_dim); ++c) {
        const bool last = c + 1 == size_t(in.head_dim);  // this channel hardly turns
        for (size_t h = 0; h < size_t(in.heads()); ++h)
          in.q[(t * size_t(in.heads()) + h) * size_t(in.head_dim) + c] = last ? 1.0f : 0.25f;
        for (size_t h = 0; h < size_t(kCacheHeads); ++h)
          if (t == 0) in.k[h * size_t(in.head_dim) + c] = last ? 1.0f : 0.25f;
      }
  }
  return in;
}

// What no token has written, of codes and of scales, is NaN in every type.
void poison(Backend& backend, const KvLayer& cache) {
  const auto vectors = size_t(cache.pages * cache.kv_heads * cache.page_tokens);
  const auto fill = [&](void* to, size_t bytes) {
    const std::vector<uint8_t> ones(bytes, 0xff);
    if (bytes > 0) backend.upload(to, ones.data(), bytes);
    backend.synchronize();
  };
  const size_t codes =
      vectors * kv_code_bytes(cache.scheme, cache.head_dim, backend.activation_type());
  fill(cache.key, codes), fill(cache.value, codes);
  if (cache.scheme == KvScheme::kFp) return;
  const size_t scales = vectors * kv_scale_bytes(cache.scheme);
  fill(cache.key_scale, scales), fill(cache.value_scale, scales);
}

double absmax(const std::vector<double>& x) {
  double largest = 0;
  for (const double v : x) largest = std::max(largest, std::abs(v));
  return largest;
}

// Whether the products are of e4m3 numbers.
bool is_fp8(const Form& form) {
  return form.query == QueryScheme::kFp8Head && form.probability == ProbabilityScheme::kFp8 &&
         form.head_dim == 128 && form.kv != KvScheme::kFp && form.kv != KvScheme::kInt8Head;
}

// The relative error of a weight that the formats allow. Probabilities times the values' scales are
// rounded to e4m3 or FP16; with a cache of BF16 they are rounded to BF16.
double weight_rounding(const Form& form) {
  return is_fp8(form) ? 0x1p-4 : form.kv == KvScheme::kFp ? 0x1p-9 : 0x1p-11;
}
// Of e4m3, which has no smaller numbers than 2^-9: half of that where 256 is the largest weight.
double weight_floor(const Form& form) { return is_fp8(form) ? 0x1p-18 : 0; }
// The bits in which wgmma sums: of e4m3 products 13 behind the largest one's first.
int sum_bits(const Form& form) { return is_fp8(form) ? 14 : 24; }

// Checks the outputs of the last `count` tokens of a sequence; rows of `out` begin with them. Each
// is within what all errors could add up to. Of e4m3 numbers that is much: there the mean square of
// errors is also within the sum of the weights' squared errors, since these are independent.
void expect_attention(const Inputs& in, const Form& form, const Attended& run, int64_t count) {
  const int64_t dim = in.head_dim;
  double squares = 0;  // of errors, relative to their bound
  for (int64_t r = 0; r < count; ++r)
    for (int64_t h = 0; h < in.heads(); ++h) {
      const int64_t t = in.tokens - count + r;
      const double* q = run.q.data() + (r * in.heads() + h) * dim;
      const auto &keys = run.key[size_t(h / in.group)], &values = run.value[size_t(h / in.group)];
      const size_t begin = size_t(form.window > 0 ? std::max<int64_t>(0, t + 1 - form.window) : 0);
      double q_sum = 0, q_largest = 0;
      for (int64_t c = 0; c < dim; ++c)
        q_sum += std::abs(q[c]), q_largest = std::max(q_largest, std::abs(q[c]));
      std::vector<double> score;
      double terms = 0, k_sum = 0;  // what a score's terms may add up to, in magnitude
      for (size_t i = begin; i <= size_t(t); ++i) {
        double sum = 0, magnitude = 0;
        for (int64_t c = 0; c < dim; ++c)
          sum += q[c] * keys[i][size_t(c)], magnitude += std::abs(keys[i][size_t(c)]);
        score.push_back(sum / std::sqrt(double(dim)));
        // A code's part and the zero point's part may each be twice the vector's largest number.
        terms = std::max(terms, 4 * q_sum * absmax(keys[i]) / std::sqrt(double(dim)));
        k_sum = std::max(k_sum, magnitude / std::sqrt(double(dim)));
      }
      // Each wgmma adds sixteen products to a sum with one cut. A BF16 query's channels are FP16
      // numbers relative to its largest: 2^-25 of that, or 16 times as much where codes are.
      const int additions = int(dim) / 16 * 2 + 8;
      const double sum_error = float_sum(terms, additions) * std::ldexp(1, 24 - sum_bits(form));
      const double relative =
          2 * sum_error + 2 * 0x1p-20 * q_largest * k_sum + float_sum(1, int(score.size()) + 16);
      const double largest = *std::max_element(score.begin(), score.end());
      double total = 0, error = 0, variance = 0, v_largest = 0;
      for (const double s : score) total += std::exp(s - largest);
      std::vector<double> out(static_cast<size_t>(dim));
      for (size_t i = begin; i <= size_t(t); ++i) {
        const double weight = std::exp(score[i - begin] - largest) / total;
        for (size_t c = 0; c < out.size(); ++c) out[c] += weight * values[i][c];
        // An asymmetric code's number is up to twice the vector's largest from its zero point.
        const double magnitude = 2 * absmax(values[i]);
        error += weight * magnitude * (weight_rounding(form) + relative);
        const double independent = magnitude * (weight * weight_rounding(form));
        variance += independent * independent;
        v_largest = std::max(v_largest, magnitude);
      }
      // Smaller products of probability and scale are relative to the largest one, which a key with
      // a small scale may hide behind.
      const double hidden = double(score.size()) * weight_floor(form) / total * v_largest * 16;
      error += hidden;
      for (size_t c = 0; c < out.size(); ++c) {
        const double mean =
            form.means ? double(in.value_mean[size_t(h / in.group * dim) + c]) : 0.0;
        const double expected = out[c] + mean;
        const double got = double(run.out[size_t((r * in.heads() + h) * dim) + c]);
        const double stored = rounding(expected, 8) + float_sum(std::abs(mean) + absmax(out), 4);
        ASSERT_NEAR(got, expected, error + stored)
            << "token " << t << " head " << h << " channel " << c;
        const double bound = std::sqrt(variance) + hidden + stored;
        squares += (got - expected) * (got - expected) / (bound * bound);
      }
    }
  if (!is_fp8(form)) return;
  EXPECT_LT(squares, double(count * in.heads() * dim));
}

class PrefillTest : public testing::TestWithParam<PrefillForm> {};

TEST_P(PrefillTest, IsSoftmaxOverTheStoredKeysAndValues) {
  const PrefillForm& f = GetParam();
  const auto backend = make_backend(f.backend);
  if (!backend) GTEST_SKIP() << "no CUDA device";
  const Inputs in = inputs_of(f);
  const int64_t page_tokens = f.form.page_tokens;
  const auto pool = scattered_pool(*backend, {f.form.kv, 1, in.kv_heads, in.head_dim}, page_tokens,
                                   in.tokens / page_tokens + 3);
  poison(*backend, pool->layer(0));
  KvSequence sequence(*pool);
  while (sequence.length() < in.tokens) {
    const int64_t count = std::min(f.form.chunk, in.tokens - sequence.length());
    const Attended run = run_step(*backend, *pool, f.form, {{&in, &sequence, count}});
    if (sequence.length() == in.tokens) expect_attention(in, f.form, run, count);
  }
}

std::string name_of(const testing::TestParamInfo<PrefillForm>& info) {
  const PrefillForm& f = info.param;
  std::string text =
      f.backend + "_" + std::string(name(f.form.kv)) + "_q_" + std::string(name(f.form.query)) +
      "_p_" + std::string(name(f.form.probability)) + "_dim" + std::to_string(f.form.head_dim) +
      "_group" + std::to_string(f.group) + "_tokens" + std::to_string(f.form.tokens) + "_chunk" +
      std::to_string(f.form.chunk) + "_window" + std::to_string(f.form.window) + "_page" +
      std::to_string(f.form.page_tokens);
  if (f.form.means) text += "_means";
  if (f.kind == Kind::kZeros) text += "_zeros";
  if (f.kind == Kind::kOneLarge) text += "_one_large";
  std::replace(text.begin(), text.end(), '-', '_');
  return text;
}

Form form_of(KvScheme kv, QueryScheme query, int64_t tokens, int64_t chunk, int64_t window,
             int64_t page_tokens, int64_t head_dim = 128) {
  return {.kv = kv,
          .query = query,
          .chunk = chunk,
          .window = window,
          .head_dim = head_dim,
          .tokens = tokens,
          .page_tokens = page_tokens};
}

// One tile, tiles that end within a page and behind it, chunks that begin anywhere, windows that
// begin behind the first tile of keys.
std::vector<PrefillForm> forms_of_lengths() {
  std::vector<PrefillForm> forms;
  for (const KvScheme kv : kv_schemes()) {
    for (const int64_t tokens : {65, 129, 200, 300})
      forms.push_back({form_of(kv, QueryScheme::kFp8Head, tokens, tokens, 0, 16)});
    for (const int64_t window : {16, 100})
      forms.push_back({form_of(kv, QueryScheme::kInt8Head, 300, 300, window, 64)});
    for (const int64_t chunk : {70, 129})
      for (const int64_t window : {0, 100})
        forms.push_back({form_of(kv, QueryScheme::kNone, 300, chunk, window, 48)});
    forms.push_back({form_of(kv, QueryScheme::kFp8Head, 200, 150, 0, 64, 64)});
    forms.push_back({form_of(kv, QueryScheme::kNone, 129, 129, 16, 16, 64)});
    if (kv == KvScheme::kFp || kv == KvScheme::kInt8Head) continue;
    for (const int64_t tokens : {65, 129, 200, 300})
      for (const int64_t window : {0, 100}) {
        PrefillForm f{form_of(kv, QueryScheme::kFp8Head, tokens, 130, window, 16)};
        f.form.probability = ProbabilityScheme::kFp8;
        forms.push_back(f);
      }
  }
  return forms;
}
INSTANTIATE_TEST_SUITE_P(Lengths, PrefillTest, testing::ValuesIn(forms_of_lengths()), name_of);

// Rows of a tile are tokens times query heads: groups that divide it and that do not.
std::vector<PrefillForm> forms_of_groups() {
  std::vector<PrefillForm> forms;
  for (const int64_t group : {1, 3, 5, 8, 16})
    for (const KvScheme kv : {KvScheme::kInt4Asym, KvScheme::kFp})
      forms.push_back({form_of(kv, QueryScheme::kFp8Head, 140, 100, 0, 64), group});
  return forms;
}
INSTANTIATE_TEST_SUITE_P(Groups, PrefillTest, testing::ValuesIn(forms_of_groups()), name_of);

std::vector<PrefillForm> forms_of_numbers() {
  std::vector<PrefillForm> forms;
  for (const KvScheme kv : kv_schemes())
    for (const ProbabilityScheme probability : {ProbabilityScheme::kFp16, ProbabilityScheme::kFp8})
      for (const Kind kind : {Kind::kNormal, Kind::kZeros, Kind::kOneLarge}) {
        PrefillForm f{form_of(kv, QueryScheme::kFp8Head, 270, 270, 0, 32), 4, kind};
        f.form.probability = probability;
        f.form.means = kind == Kind::kNormal;
        f.form.hadamard = kind == Kind::kNormal;
        forms.push_back(f);
      }
  return forms;
}
INSTANTIATE_TEST_SUITE_P(Numbers, PrefillTest, testing::ValuesIn(forms_of_numbers()), name_of);

// Sequences of one batch, some with one new token, against the backend that follows the definition.
class PrefillBatchTest : public testing::TestWithParam<KvScheme> {};

TEST_P(PrefillBatchTest, GivesEachSequenceOfABatchWhatTheDefinitionGives_cuda) {
  const auto fast = make_backend("cuda"), naive = make_backend("cuda-naive");
  if (!fast) GTEST_SKIP() << "no CUDA device";
  struct Part {
    int64_t before, count;
  };
  const std::vector<Part> parts = {{0, 40}, {300, 1}, {17, 129}, {0, 1}, {150, 65}, {5, 3}};
  const Form form{.kv = GetParam(), .query = QueryScheme::kFp8Head, .window = 90};
  std::vector<Inputs> inputs;
  for (const Part& part : parts)
    inputs.push_back(make_inputs(part.before + part.count, inputs.size(), 128, kCacheHeads, 4));
  std::vector<std::vector<float>> out;
  double largest = 0;
  for (Backend* backend : {fast.get(), naive.get()}) {
    const auto pool = scattered_pool(*backend, {form.kv, 1, kCacheHeads, 128}, 16, 100);
    poison(*backend, pool->layer(0));
    std::vector<KvSequence> sequences;
    sequences.reserve(parts.size());
    std::vector<test::Part> now;
    for (size_t i = 0; i < parts.size(); ++i) {
      KvSequence& sequence = sequences.emplace_back(*pool);
      if (parts[i].before > 0)
        run_step(*backend, *pool, form, {{&inputs[i], &sequence, parts[i].before}});
      now.push_back({&inputs[i], &sequence, parts[i].count});
    }
    const Attended run = run_step(*backend, *pool, form, now);
    out.push_back(run.out);
  }
  for (const Inputs& in : inputs)
    for (const float v : in.v) largest = std::max(largest, double(std::abs(v)));
  // Codes are up to twice the largest number from their zero point.
  const double error = 2 * largest * (weight_rounding(form) + 0x1p-14);
  ASSERT_EQ(out[0].size(), out[1].size());
  for (size_t i = 0; i < out[0].size(); ++i)
    ASSERT_NEAR(out[0][i], out[1][i], error + 2 * rounding(double(out[1][i]), 8)) << i;
}
INSTANTIATE_TEST_SUITE_P(Schemes, PrefillBatchTest, testing::ValuesIn(kv_schemes()),
                         [](const testing::TestParamInfo<KvScheme>& of) {
                           std::string text(name(of.param));
                           std::replace(text.begin(), text.end(), '-', '_');
                           return text;
                         });

}  // namespace
}  // namespace emberq::test
