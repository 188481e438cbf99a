#include "engine/generate.h"

#include <gtest/gtest.h>

#include <cmath>

#include "base/error.h"
#include "base/json.h"
#include "engine/cpu_sampler.h"
#include "support/refusal.h"
#include "support/shared.h"
#include "support/tiny_model.h"
#include "text/tokenizer.h"

namespace emberq::generate_test {
namespace {

void expect_golden_continuation(const fs::path& folder, const Json& golden) {
  const auto backend = make_cpu_backend();
  Model model = Model::load(Checkpoint::open(folder), *backend);
  const std::vector<int> prompt =
      Tokenizer::load(folder).encode(golden["prompt"].get<std::string>(), SpecialTokens::kAdd);
  EXPECT_EQ(prompt, golden["prompt_ids"].get<std::vector<int>>());
  std::vector<int> all = prompt;
  const Generation result = generate(model, prompt, {.max_new_tokens = 64});
  all.insert(all.end(), result.ids.begin(), result.ids.end());
  EXPECT_EQ(all, golden["greedy_ids"].get<std::vector<int>>());
  EXPECT_EQ(result.finish_reason, FinishReason::kLength);
}

TEST(Generate, ContinuesTheBundledModelsPromptAsTransformersDoes) {
  expect_golden_continuation(
      test::source_folder() / "models/nano-wiki",
      read_json(test::source_folder() / "tests/golden/model/nano-wiki.json"));
}

TEST(Generate, ContinuesSmallWikisPromptAsTransformersDoes) {
  EMBERQ_NEEDS_SHARED("models/small-wiki");
  const fs::path folder = test::shared_folder() / "models/small-wiki";
  expect_golden_continuation(folder, read_json(folder / "golden.json"));
}

class TinyGenerate : public testing::Test {
 protected:
  TinyGenerate() { test::write_tiny_model(folder_.path() / "model", test::tiny_config("llama")); }
  const TestFolder folder_;
  const std::unique_ptr<Backend> backend_ = make_cpu_backend();
};

TEST_F(TinyGenerate, StopsAtAnEndTokenAndLeavesItOut) {
  Model model = Model::load(Checkpoint::open(folder_.path() / "model"), *backend_);
  const std::vector<int> prompt = {0, 5, 9};
  const Generation free_run = generate(model, prompt, {.max_new_tokens = 6});
  ASSERT_EQ(free_run.ids.size(), 6u);
  const int end = free_run.ids[2];
  const Generation stopped =
      generate(model, prompt, {.sampling = {.eos_ids = {8191, end}}, .max_new_tokens = 6});
  EXPECT_EQ(stopped.finish_reason, FinishReason::kStop);
  EXPECT_EQ(std::find(stopped.ids.begin(), stopped.ids.end(), end), stopped.ids.end());
  EXPECT_LE(stopped.ids.size(), 2u);
}

TEST_F(TinyGenerate, StopsWhereTheModelsPositionsEnd) {
  Model model = Model::load(Checkpoint::open(folder_.path() / "model"), *backend_);
  const std::vector<int> prompt(250, 7);
  EXPECT_EQ(generate(model, prompt, {.max_new_tokens = 100}).ids.size(), 6u);
  EXPECT_THROW(generate(model, std::vector<int>(256, 7), {}), InputError);
  EXPECT_THROW(generate(model, {}, {}), InputError);
}

TEST_F(TinyGenerate, RefusesAPromptWithAnIdOutsideTheVocabularyByItsPosition) {
  Model model = Model::load(Checkpoint::open(folder_.path() / "model"), *backend_);
  EXPECT_REFUSED(generate(model, std::vector<int>{1, 2, 8192}, {}),
                 "position 2 of the prompt has the id 8192", "vocab_size 8192");
  EXPECT_REFUSED(generate(model, std::vector<int>{-1}, {}),
                 "position 0 of the prompt has the id -1");
}

// Counts of 4000 samples.
std::vector<int> histogram(const SamplingOptions& options, const std::vector<float>& logits) {
  test::CpuSampler sampler(options, 1);
  std::vector<int> counts(logits.size());
  for (int i = 0; i < 4000; ++i) ++counts[size_t(sampler.sample(logits))];
  return counts;
}

const std::vector<float> kLogits = {std::log(0.1f), std::log(0.4f), std::log(0.2f), std::log(0.3f)};

TEST(Sampler, FollowsTheProbabilities) {
  const auto counts = histogram({.greedy = false}, kLogits);
  // Four standard deviations of a binomial count.
  const double p[] = {0.1, 0.4, 0.2, 0.3};
  for (size_t i = 0; i < 4; ++i)
    EXPECT_NEAR(counts[i], 4000 * p[i], 4 * std::sqrt(4000 * p[i] * (1 - p[i]))) << i;
}

TEST(Sampler, TakesFromTheTopKAndTheNucleusOnly) {
  const auto top_two = histogram({.greedy = false, .top_k = 2}, kLogits);
  EXPECT_TRUE(top_two[0] == 0 && top_two[2] == 0 && top_two[1] > 0 && top_two[3] > 0);
  const auto nucleus = histogram({.greedy = false, .top_p = 0.75}, kLogits);
  EXPECT_TRUE(nucleus[0] == 0 && nucleus[2] > 0 && nucleus[1] > 0 && nucleus[3] > 0);
  const auto one = histogram({.greedy = false, .top_p = 1e-9}, kLogits);
  EXPECT_EQ(one[1], 4000);
}

TEST(Sampler, AtALowTemperatureIsGreedyAndAtAHighOneFlat) {
  EXPECT_EQ(histogram({.greedy = false, .temperature = 1e-3}, kLogits)[1], 4000);
  for (const int count : histogram({.greedy = false, .temperature = 1e6}, kLogits))
    EXPECT_NEAR(count, 1000, 110);
}

TEST(Sampler, OfOneSeedIsTheSameEachTime) {
  EXPECT_EQ(histogram({.greedy = false}, kLogits), histogram({.greedy = false}, kLogits));
}

}  // namespace
}  // namespace emberq::generate_test
