#include "eval/needle.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cmath>

#include "eval/likelihood.h"
#include "support/refusal.h"
#include "support/shared.h"

namespace emberq::needle_test {
namespace {

TEST(NeedleTrials, AreTheSameForTheSameSeed) {
  const auto a = needle_trials(20, 7), b = needle_trials(20, 7), c = needle_trials(20, 8);
  bool differs = false;
  for (size_t i = 0; i < a.size(); ++i) {
    EXPECT_EQ(a[i].city, b[i].city);
    EXPECT_EQ(a[i].number, b[i].number);
    EXPECT_EQ(a[i].filler, b[i].filler);
    differs = differs || a[i].number != c[i].number;
  }
  EXPECT_TRUE(differs);
}

TEST(NeedleTrials, HaveTwoNumbersOfSevenDigitsThatDifferInEveryPlace) {
  for (const NeedleTrial& trial : needle_trials(500, 1)) {
    for (const std::string& number : {trial.number, trial.other}) {
      EXPECT_EQ(number.size(), 7u);
      EXPECT_EQ(number.find_first_not_of("0123456789"), number.npos) << number;
      EXPECT_NE(number[0], '0');
    }
    for (size_t i = 0; i < 7; ++i) EXPECT_NE(trial.number[i], trial.other[i]);
  }
}

class BundledNeedle : public testing::Test {
 protected:
  NeedlePrompt prompt(Needle needle, double depth, int64_t length = 200) {
    return needle_prompt(tokenizer_, filler_, trial_, needle, length, depth);
  }
  std::string hidden(const NeedlePrompt& prompt) {
    return tokenizer_.decode(
        std::span(prompt.context).subspan(size_t(prompt.begin), size_t(prompt.end - prompt.begin)));
  }

  const fs::path folder_ = test::source_folder() / "models/nano-wiki";
  const Tokenizer tokenizer_ = Tokenizer::load(folder_);
  const std::vector<int> filler_ = tokenizer_.encode(
      read_text(test::source_folder() / "data/enwiki-excerpt.txt"), SpecialTokens::kNone);
  const NeedleTrial trial_ = needle_trials(1, 3)[0];
  const std::unique_ptr<Backend> backend_ = make_cpu_backend();
  Model model_ = Model::load(Checkpoint::open(folder_), *backend_);
};

TEST_F(BundledNeedle, IsInAPromptOfTheLengthAskedForThatEndsBeforeTheNumber) {
  const std::string sentence = "The secret number of " + trial_.city + " is ";
  for (const double depth : {0.0, 0.3, 1.0})
    for (const Needle needle : {Needle::kNumber, Needle::kOther, Needle::kAbsent}) {
      const NeedlePrompt built = prompt(needle, depth);
      EXPECT_EQ(built.context.size() + built.answer.size(), 200u);
      EXPECT_EQ(built.context[0], *tokenizer_.bos_id());
      EXPECT_EQ(tokenizer_.decode(built.answer), " " + trial_.number);
      const std::string text = tokenizer_.decode(built.context);
      EXPECT_TRUE(text.ends_with("Answer: The secret number of " + trial_.city + " is"));
      EXPECT_EQ(text.find(trial_.number) != text.npos, needle == Needle::kNumber);
      EXPECT_EQ(text.find(trial_.other) != text.npos, needle == Needle::kOther);
    }
  EXPECT_EQ(hidden(prompt(Needle::kNumber, 0.5)), " " + sentence + trial_.number + ".");
  EXPECT_EQ(hidden(prompt(Needle::kOther, 0.5)), " " + sentence + trial_.other + ".");
  EXPECT_EQ(hidden(prompt(Needle::kAbsent, 0.5)), "");
}

TEST_F(BundledNeedle, StandsAtItsDepthWhereASentenceEnds) {
  const int64_t length = 1000;
  const NeedlePrompt first = prompt(Needle::kNumber, 0, length);
  EXPECT_EQ(first.begin, 1) << "after BOS";
  const NeedlePrompt last = prompt(Needle::kNumber, 1, length);
  for (const double depth : {0.25, 0.5, 0.75, 1.0}) {
    const NeedlePrompt built = prompt(Needle::kNumber, depth, length);
    const std::string before =
        tokenizer_.decode(std::span(built.context).first(size_t(built.begin)));
    EXPECT_TRUE(before.ends_with('.') || before.ends_with('\n')) << depth;
    EXPECT_LE(built.begin, 1 + int64_t(depth * double(length))) << depth;
    EXPECT_GT(built.begin, int64_t((depth - 0.2) * double(length))) << depth;
  }
  EXPECT_GT(last.begin, prompt(Needle::kNumber, 0.5, length).begin);
}

TEST_F(BundledNeedle, LeavesTheFillerAsItIsInTheText) {
  NeedlePrompt with = prompt(Needle::kNumber, 0.5);
  const NeedlePrompt without = prompt(Needle::kAbsent, 0.5);
  with.context.erase(with.context.begin() + with.begin, with.context.begin() + with.end);
  size_t same = 0;
  while (with.context[same] == without.context[same]) ++same;
  EXPECT_GT(same, 100u) << "the same filler up to where the shorter one ends";
}

TEST_F(BundledNeedle, IsScoredByTheLikelihoodsOfItsPrompts) {
  const NeedleOptions options{.length = 160, .depths = {0.5, 0}, .trials = 3, .seed = 9};
  const NeedleResult result = needle(model_, tokenizer_, filler_, options);
  ASSERT_EQ(result.scores.size(), 2u);
  double sums[3] = {}, tokens = 0, exact = 0;
  for (const NeedleTrial& trial : needle_trials(3, 9))
    for (const Needle hidden : {Needle::kNumber, Needle::kOther, Needle::kAbsent}) {
      const NeedlePrompt built = needle_prompt(tokenizer_, filler_, trial, hidden, 160, 0.5);
      const Likelihood judged = LikelihoodScorer(model_, 160).score(built.context, built.answer);
      sums[size_t(hidden)] += judged.log_p;
      if (hidden != Needle::kNumber) continue;
      tokens += double(built.answer.size());
      exact += judged.greedy;
    }
  const NeedleScore& score = result.scores[0];
  EXPECT_EQ(score.depth, 0.5);
  EXPECT_EQ(score.exact, exact / 3);
  EXPECT_NEAR(score.present, sums[0] / tokens, 1e-4);
  EXPECT_NEAR(score.other, sums[1] / tokens, 1e-4);
  EXPECT_NEAR(score.absent, sums[2] / tokens, 1e-4);
}

TEST_F(BundledNeedle, IsFoundByAModelTooSmallToSayTheWholeNumber) {
  const NeedleScore score =
      needle(model_, tokenizer_, filler_, {.length = 200, .trials = 5}).scores[0];
  EXPECT_GT(score.present, score.other + 0.5);
  EXPECT_GT(score.present, score.absent + 0.5);
}

TEST_F(BundledNeedle, RefusesWhatDoesNotFit) {
  const auto run = [&](const NeedleOptions& options) {
    needle(model_, tokenizer_, filler_, options);
    return 0;
  };
  EXPECT_REFUSED(run({.length = 2049}), "2049", "2048 positions");
  EXPECT_REFUSED(run({.length = 40}), "40 tokens has no room");
  EXPECT_REFUSED(run({.length = 200, .depths = {1.5}}), "from 0 to 1, got 1.5");
  EXPECT_REFUSED(run({.length = 200, .depths = {NAN}}), "from 0 to 1, got nan");
  EXPECT_REFUSED(run({.length = 200, .trials = 0}), "at least 1");
  EXPECT_REFUSED(needle(model_, tokenizer_, std::span(filler_).first(199), {.length = 200}),
                 "199 tokens", "prompt of 200");
}

TEST_F(BundledNeedle, RefusesAFillerWithAnIdOutsideTheVocabulary) {
  std::vector<int> filler = filler_;
  filler[17] = int(model_.config().vocab_size);
  EXPECT_REFUSED(needle(model_, tokenizer_, filler, {.length = 200}),
                 fmt::format("position 17 of the text has the id {}", filler[17]));
}

}  // namespace
}  // namespace emberq::needle_test
