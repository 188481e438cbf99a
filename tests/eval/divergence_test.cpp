#include "eval/divergence.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "base/json.h"
#include "support/logits.h"
#include "support/random.h"
#include "support/refusal.h"
#include "support/tiny_model.h"

namespace emberq::divergence_test {
namespace {

// The definition, from probabilities.
std::vector<double> softmax(std::span<const float> logits) {
  std::vector<double> p;
  double sum = 0;
  for (const float x : logits) p.push_back(std::exp(double(x))), sum += p.back();
  for (double& x : p) x /= sum;
  return p;
}
double naive_kl(std::span<const float> a, std::span<const float> b) {
  const std::vector<double> p = softmax(a), q = softmax(b);
  double kl = 0;
  for (size_t i = 0; i < p.size(); ++i) kl += p[i] * std::log(p[i] / q[i]);
  return kl;
}

TEST(KlDivergence, IsThatOfTheSoftmaxesRowByRow) {
  const int64_t rows = 7, vocab = 513;
  const auto a = test::normal_floats(size_t(rows * vocab), 1, 4);
  const auto b = test::normal_floats(size_t(rows * vocab), 2, 4);
  const auto kl = kl_divergence({a.data(), rows, vocab}, {b.data(), rows, vocab});
  ASSERT_EQ(kl.size(), size_t(rows));
  for (size_t r = 0; r < kl.size(); ++r) {
    const size_t first = r * size_t(vocab);
    EXPECT_NEAR(kl[r],
                naive_kl(std::span(a).subspan(first, size_t(vocab)),
                         std::span(b).subspan(first, size_t(vocab))),
                1e-12 * kl[r]);
  }
}

TEST(KlDivergence, OfALogitsRowFromItselfIsExactlyZero) {
  const auto a = test::normal_floats(1000, 3, 20);
  EXPECT_EQ(kl_divergence({a.data(), 1, 1000}, {a.data(), 1, 1000}), std::vector<double>{0});
}

TEST(KlDivergence, DoesNotChangeWithWhatIsAddedToAllLogitsAndDoesNotOverflow) {
  const std::vector<float> a = {0, 1, 2, 3}, b = {3, 0, 2, 1};
  std::vector<float> far_a = a, far_b = b;
  for (float& x : far_a) x += 4096;
  for (float& x : far_b) x -= 8192;
  const double kl = kl_divergence({a.data(), 1, 4}, {b.data(), 1, 4})[0];
  EXPECT_NEAR(kl, naive_kl(a, b), 1e-15);
  EXPECT_EQ(kl_divergence({far_a.data(), 1, 4}, {far_b.data(), 1, 4})[0], kl);
}

TEST(KlDivergence, CountsNoTokenThatTheReferenceRulesOut) {
  const float inf = INFINITY;
  const std::vector<float> a = {0, -inf, 0}, b = {0, 0, 0};
  EXPECT_NEAR(kl_divergence({a.data(), 1, 3}, {b.data(), 1, 3})[0], std::log(1.5), 1e-15);
  EXPECT_EQ(kl_divergence({b.data(), 1, 3}, {a.data(), 1, 3})[0], inf);
}

TEST(KlDivergence, RefusesLogitsOfOtherShapes) {
  const std::vector<float> a(8);
  EXPECT_THROW(kl_divergence({a.data(), 2, 4}, {a.data(), 4, 2}), Error);
}

class TinyModels : public testing::Test {
 protected:
  Model load(const std::string& name, const Json& config) {
    test::write_tiny_model(folder_.path() / name, config);
    return Model::load(Checkpoint::open(folder_.path() / name), *backend_);
  }
  static std::vector<float> logits_of(Model& model, std::span<const int> ids) {
    KvPool pool = model.make_pool(int64_t(ids.size()));
    KvSequence sequence(pool);
    return test::logits_of(model, model.forward(ids, sequence));
  }

  const TestFolder folder_;
  const std::unique_ptr<Backend> backend_ = make_cpu_backend();
  Model a_ = load("a", test::tiny_config("llama"));
  Model b_ = load("b", test::tiny_config("qwen2"));
  std::vector<int> ids_;

  TinyModels() {
    for (int i = 0; i < 75; ++i) ids_.push_back((i * i * 37 + 11 * i) % 8192);
  }
};

TEST_F(TinyModels, DivergeByWhatTheDefinitionSays) {
  const int64_t window = 20, vocab = 8192;
  const Divergence result = divergence(a_, b_, ids_, {.window = window});
  std::vector<double> kl;
  double same = 0;
  for (size_t w = 0; w < 3; ++w) {
    const auto ids = std::span(ids_).subspan(w * size_t(window), size_t(window));
    const auto a = logits_of(a_, ids), b = logits_of(b_, ids);
    for (size_t t = 0; t + 1 < size_t(window); ++t) {
      const auto row_a = std::span(a).subspan(t * size_t(vocab), size_t(vocab));
      const auto row_b = std::span(b).subspan(t * size_t(vocab), size_t(vocab));
      kl.push_back(naive_kl(row_a, row_b));
      const auto top = [](auto row) {
        return std::max_element(row.begin(), row.end()) - row.begin();
      };
      same += top(row_a) == top(row_b);
    }
  }
  double sum = 0;
  for (const double x : kl) sum += x;
  std::sort(kl.begin(), kl.end());
  EXPECT_EQ(result.windows, 3);
  EXPECT_EQ(result.predicted_tokens, 57);
  EXPECT_NEAR(result.kl, sum / 57, 1e-6);
  EXPECT_NEAR(result.kl_max, kl.back(), 1e-6);
  EXPECT_NEAR(result.kl_p99, kl[56], 1e-6) << "99 % of 57 positions are all of them";
  EXPECT_EQ(result.top1_agreement, same / 57);
}

TEST_F(TinyModels, HaveThePerplexitiesThatPerplexityMeasures) {
  const PerplexityOptions options{.window = 25, .max_windows = 2};
  const Divergence result = divergence(a_, b_, ids_, options);
  const double reference_ppl = perplexity(a_, ids_, options).ppl,
               ppl = perplexity(b_, ids_, options).ppl;
  EXPECT_NEAR(result.reference_ppl, reference_ppl, 1e-5 * reference_ppl);
  EXPECT_NEAR(result.ppl, ppl, 1e-5 * ppl);
  EXPECT_EQ(result.windows, 2);
}

TEST_F(TinyModels, DoNotDivergeFromThemselves) {
  Model again = load("again", test::tiny_config("llama"));
  const Divergence result = divergence(a_, again, ids_, {.window = 25});
  EXPECT_EQ(result.kl, 0);
  EXPECT_EQ(result.kl_max, 0);
  EXPECT_EQ(result.top1_agreement, 1);
  EXPECT_EQ(result.reference_ppl, result.ppl);
}

TEST_F(TinyModels, DivergeFromLogitsInMemoryAsFromTheModelItself) {
  const ReferenceLogits reference = reference_logits(a_, ids_, {.window = 25});
  EXPECT_EQ(reference.ids.size(), 75u);
  EXPECT_EQ(reference.logits.size(), size_t(3 * 24 * 8192));
  const Divergence kept = divergence(reference, b_);
  const Divergence live = divergence(a_, b_, ids_, {.window = 25});
  EXPECT_EQ(kept.kl, live.kl);
  EXPECT_EQ(kept.kl_p99, live.kl_p99);
  EXPECT_EQ(kept.reference_ppl, live.reference_ppl);
  EXPECT_EQ(kept.predicted_tokens, live.predicted_tokens);
}

TEST_F(TinyModels, OfWindowsLongerThanABlockOfLogitsDivergeAlike) {
  Json config = test::tiny_config("llama");
  config["max_position_embeddings"] = 600;
  Model longer = load("longer", config);
  const std::vector<int> ids(560, 5);
  EXPECT_EQ(divergence(longer, longer, ids, {.window = 560}).predicted_tokens, 559);
  EXPECT_EQ(divergence(reference_logits(longer, ids, {.window = 560}), longer).kl, 0);
}

TEST_F(TinyModels, RefuseAnIdOutsideTheVocabulary) {
  for (const int bad : {-1, 8192}) {
    std::vector<int> ids(100, 5);
    ids[70] = bad;
    const std::string sentence =
        fmt::format("position 70 of the text has the id {}, which is outside", bad);
    EXPECT_REFUSED(divergence(a_, b_, ids, {.window = 50}), sentence, "vocab_size 8192");
    EXPECT_REFUSED(reference_logits(a_, ids, {.window = 50}), sentence, "vocab_size 8192");
  }
}

TEST_F(TinyModels, OfOtherVocabulariesAreRefused) {
  Json config = test::tiny_config("llama");
  config["vocab_size"] = 8200;
  Model other = load("other", config);
  EXPECT_REFUSED(divergence(a_, other, ids_, {.window = 25}), "8192", "8200");
  EXPECT_REFUSED(divergence(reference_logits(a_, ids_, {.window = 25}), other), "8192", "8200");
  EXPECT_REFUSED(divergence(a_, b_, ids_, {.window = 300}), "300", "256 positions");
}

}  // namespace
}  // namespace emberq::divergence_test
