#include "ops/attention.h"

#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <tuple>

#include "format/fp16.h"
#include "support/attention_case.h"
#include "support/kv_schemes.h"
#include "support/tolerance.h"

namespace emberq::test::attention_test {
namespace {

double rounded(double e, ProbabilityScheme scheme) {
  if (scheme == ProbabilityScheme::kFp8) return double(fp8_round(448 * e)) / 448;
  if (scheme == ProbabilityScheme::kFp16)
    return double(fp16::from_float(round_to_odd(e)).to_float());
  return e;
}

// Whether a GPU's fast kernels take the form. They round weights to FP16, or to BF16 with a cache
// of that, instead of what the scheme says; and a code's value is a product and a zero point there,
// whose magnitudes add up to at most three times the largest value's.
bool runs_in_tiles(const Form& form) {
  return (form.backend == "cuda" || form.backend == "cuda-batch-invariant") &&
         form.head_dim >= 64 && form.head_dim != 80 && form.page_tokens % 16 == 0 &&
         form.page_tokens > 0;
}

// Whether the weights of a prompt may be e4m3 numbers, times the scales of their values, and sums
// of products those of wgmma's, which keep 14 bits.
bool runs_in_fp8(const Form& form) {
  return form.backend == "cuda" && runs_in_tiles(form) && form.head_dim == 128 &&
         form.query == QueryScheme::kFp8Head && form.probability == ProbabilityScheme::kFp8 &&
         form.kv != KvScheme::kFp && form.kv != KvScheme::kInt8Head;
}

class AttentionTest : public testing::TestWithParam<Form> {};

TEST_P(AttentionTest, IsSoftmaxOverTheStoredKeysAndValues) {
  const Form& form = GetParam();
  const auto backend = make_backend(form.backend);
  if (!backend) GTEST_SKIP() << "no CUDA device";
  const Inputs in = make_inputs(form.tokens, 0, form.head_dim);
  const Attended run = run_chunks(*backend, in, form);
  const Stored &keys = run.key, &values = run.value;
  const bool tiles = runs_in_tiles(form);
  const ProbabilityScheme probability = tiles ? ProbabilityScheme::kNone : form.probability;
  const double cancels = tiles ? 3 : 1;
  const double weight_rounding = !tiles                     ? 0
                                 : runs_in_fp8(form)        ? 0x1p-4
                                 : form.kv == KvScheme::kFp ? 0x1p-9
                                                            : 0x1p-11;
  const double sum_cut = runs_in_fp8(form) ? 0x1p10 : 1;
  const int64_t last = std::min(form.chunk, in.tokens),
                first = in.tokens - (in.tokens % form.chunk ? in.tokens % form.chunk : last);
  for (int64_t t = first; t < in.tokens; ++t)
    for (int64_t h = 0; h < kHeads; ++h) {
      const double* q = run.q.data() + ((t - first) * kHeads + h) * in.head_dim;
      const size_t kv_head = size_t(h / kGroup);
      const size_t begin = size_t(form.window > 0 ? std::max<int64_t>(0, t + 1 - form.window) : 0);
      std::vector<double> score;
      double terms = 0;  // of a score, in magnitude
      for (size_t i = begin; i <= size_t(t); ++i) {
        score.push_back(0);
        double sum = 0;
        for (size_t c = 0; c < size_t(in.head_dim); ++c) {
          const double term = q[c] * keys[kv_head][i][c] / std::sqrt(double(in.head_dim));
          score.back() += term, sum += std::abs(term);
        }
        terms = std::max(terms, sum);
      }
      // Of a weight, e^(score - largest) with an exp of two units: a key is decoded, multiplied,
      // summed and scaled, twice. And of the sums over weights.
      const double relative =
          2 * (sum_cut * float_sum(cancels * terms, int(in.head_dim) + 3) + 2 * 0x1p-23) +
          float_sum(1, int(score.size()) + 3);
      const double largest = *std::max_element(score.begin(), score.end());
      double total = 0;
      for (double& s : score) total += std::exp(s - largest);
      std::vector<double> out(size_t(in.head_dim));
      double largest_v = 0, moved = 0;  // by weights whose rounding an error in them may turn
      for (size_t i = begin; i <= size_t(t); ++i) {
        const double e = std::exp(score[i - begin] - largest);
        double magnitude = 0;
        for (size_t c = 0; c < out.size(); ++c) {
          const double v = values[kv_head][i][c];
          out[c] += rounded(e, probability) / total * v;
          magnitude = std::max(magnitude, std::abs(v));
        }
        largest_v = std::max(largest_v, magnitude);
        if (probability != ProbabilityScheme::kNone)
          moved += (rounded(e * (1 + relative), probability) -
                    rounded(e * (1 - relative), probability)) /
                   total * magnitude;
      }
      for (size_t c = 0; c < out.size(); ++c) {
        const double mean = form.means ? double(in.value_mean[kv_head * out.size() + c]) : 0.0;
        const double stored =
            own_bits(*backend) < 24 ? rounding(out[c] + mean, own_bits(*backend)) : 0;
        ASSERT_NEAR(run.out[size_t(((t - first) * kHeads + h) * in.head_dim) + c], out[c] + mean,
                    (cancels * relative + weight_rounding * cancels) * largest_v +
                        relative * std::abs(mean) + moved + stored)
            << "token " << t << " head " << h << " channel " << c;
      }
    }
}

std::string text_of(const Form& form) {
  std::string text = form.backend + "_" + std::string(name(form.kv));
  if (form.query != QueryScheme::kNone) text += "_q_" + std::string(name(form.query));
  if (form.probability != ProbabilityScheme::kNone)
    text += "_p_" + std::string(name(form.probability));
  if (form.means) text += "_means";
  if (form.hadamard) text += "_hadamard";
  if (form.head_dim != kHeadDim) text += "_heads_of_" + std::to_string(form.head_dim);
  text += "_chunk" + std::to_string(form.chunk) + "_window" + std::to_string(form.window);
  if (form.page_tokens) text += "_page" + std::to_string(form.page_tokens);
  std::replace(text.begin(), text.end(), '-', '_');
  return text;
}
std::string name_of(const testing::TestParamInfo<Form>& info) { return text_of(info.param); }

// By every backend.
std::vector<Form> everywhere(const std::vector<Form>& forms) {
  return on_backends({"cpu", "cuda", "cuda-naive"}, forms);
}

std::vector<Form> forms_of_storage() {
  std::vector<Form> forms;
  for (const KvScheme kv : kv_schemes())
    for (const QueryScheme query :
         {QueryScheme::kNone, QueryScheme::kFp8Head, QueryScheme::kInt8Head})
      for (const int64_t chunk : {1, 7, 150})
        for (const int64_t window : {0, 1, 16}) forms.push_back({kv, query, chunk, window});
  return forms;
}
INSTANTIATE_TEST_SUITE_P(Storage, AttentionTest, testing::ValuesIn(everywhere(forms_of_storage())),
                         name_of);

std::vector<Form> forms_of_steps() {
  std::vector<Form> forms;
  for (const KvScheme kv : {KvScheme::kFp, KvScheme::kLut4Head})
    for (const ProbabilityScheme probability :
         {ProbabilityScheme::kNone, ProbabilityScheme::kFp8, ProbabilityScheme::kFp16})
      for (const bool means : {false, true})
        for (const int64_t window : {0, 16})
          forms.push_back({.kv = kv,
                           .chunk = 40,
                           .window = window,
                           .probability = probability,
                           .means = means,
                           .hadamard = true});
  return forms;
}
INSTANTIATE_TEST_SUITE_P(Steps, AttentionTest, testing::ValuesIn(everywhere(forms_of_steps())),
                         name_of);

// Of no power of two, 100 in blocks; a prompt at once, and token by token after it.
std::vector<Form> forms_of_heads() {
  std::vector<Form> forms;
  for (const int64_t head_dim : {80, 96, 100, 120})
    for (const KvScheme kv : kv_schemes())
      for (const int64_t chunk : {1, 20})
        forms.push_back({.kv = kv,
                         .query = QueryScheme::kFp8Head,
                         .chunk = chunk,
                         .means = true,
                         .hadamard = true,
                         .head_dim = head_dim,
                         .tokens = 20});
  return forms;
}
INSTANTIATE_TEST_SUITE_P(Heads, AttentionTest, testing::ValuesIn(everywhere(forms_of_heads())),
                         name_of);

// Pages of one token, pages that end within a chunk, and a page's length that chunks end at.
std::vector<Form> forms_of_pages() {
  std::vector<Form> forms;
  for (const KvScheme kv : kv_schemes())
    for (const int64_t page_tokens : {1, 16, 50})
      for (const int64_t chunk : {1, 50, 150})
        for (const int64_t window : {0, 16})
          forms.push_back({.kv = kv, .chunk = chunk, .window = window, .page_tokens = page_tokens});
  return forms;
}
INSTANTIATE_TEST_SUITE_P(Pages, AttentionTest, testing::ValuesIn(everywhere(forms_of_pages())),
                         name_of);

// Heads and pages that a GPU's fast kernels take.
std::vector<Form> forms_of_tiles() {
  std::vector<Form> forms;
  for (const KvScheme kv : kv_schemes())
    for (const int64_t head_dim : {64, 128, 256})
      for (const auto& [chunk, window, page_tokens] :
           {std::tuple<int64_t, int64_t, int64_t>{9, 0, 16},
            {150, 0, 64},
            {40, 100, 64},
            {7, 16, 16}})
        for (const QueryScheme query :
             {QueryScheme::kNone, QueryScheme::kFp8Head, QueryScheme::kInt8Head})
          forms.push_back({.kv = kv,
                           .query = query,
                           .chunk = chunk,
                           .window = window,
                           .probability = query == QueryScheme::kFp8Head ? ProbabilityScheme::kFp8
                                                                         : ProbabilityScheme::kNone,
                           .means = true,
                           .hadamard = true,
                           .head_dim = head_dim,
                           .page_tokens = page_tokens});
  return forms;
}
INSTANTIATE_TEST_SUITE_P(Tiles, AttentionTest,
                         testing::ValuesIn(on_backends({"cuda", "cuda-batch-invariant"},
                                                       forms_of_tiles())),
                         name_of);
std::vector<Form> forms_of_single_tokens() {
  std::vector<Form> forms;
  for (const KvScheme kv : kv_schemes())
    forms.push_back({.kv = kv,
                     .query = QueryScheme::kFp8Head,
                     .chunk = 1,
                     .head_dim = 128,
                     .tokens = 300,
                     .page_tokens = 64});
  return forms;
}
INSTANTIATE_TEST_SUITE_P(TilesSanitized, AttentionTest,
                         testing::ValuesIn(on_backends({"cuda", "cuda-batch-invariant"},
                                                       forms_of_single_tokens())),
                         name_of);

TEST(KvCacheShape, TakesTheBitsOfItsCodesAndTheBytesOfItsScales) {
  const auto bytes = [](KvScheme kv, DType type) {
    return KvCacheShape{kv, 6, 2, 128}.bytes_per_token(type);
  };
  const size_t vectors = 6 * 2 * 2;
  EXPECT_EQ(bytes(KvScheme::kFp, DType::kF32), vectors * 512);
  EXPECT_EQ(bytes(KvScheme::kFp, DType::kBF16), vectors * 256);
  EXPECT_EQ(bytes(KvScheme::kInt4Head, DType::kF32), vectors * (64 + 1));
  EXPECT_EQ(bytes(KvScheme::kInt4Asym, DType::kF32), vectors * (64 + 4));
  EXPECT_EQ(bytes(KvScheme::kLut4Head, DType::kF32), vectors * (64 + 2));
  EXPECT_EQ(bytes(KvScheme::kInt8Head, DType::kBF16), vectors * (128 + 2));
  for (const int64_t head_dim : {80, 96, 100, 120})
    EXPECT_EQ((KvCacheShape{KvScheme::kInt4Head, 6, 2, head_dim}.bytes_per_token(DType::kF32)),
              vectors * size_t(head_dim / 2 + 1));
}

}  // namespace
}  // namespace emberq::test::attention_test
