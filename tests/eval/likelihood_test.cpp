#include "eval/likelihood.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cmath>

#include "eval/log_probability.h"
#include "support/logits.h"
#include "support/refusal.h"
#include "support/tiny_model.h"

namespace emberq::likelihood_test {
namespace {

const fs::path kTokenizer = test::source_folder() / "models/nano-wiki";

TEST(EncodePair, SplitsTheTokensOfTheWholeTextWhereTheContextEnds) {
  const Tokenizer tokenizer = Tokenizer::load(kTokenizer);
  const TokenPair pair = encode_pair(tokenizer, "The city of", " Paris is old");
  EXPECT_EQ(pair.context, tokenizer.encode("The city of", SpecialTokens::kNone));
  std::vector<int> joined = pair.context;
  joined.insert(joined.end(), pair.continuation.begin(), pair.continuation.end());
  EXPECT_EQ(joined, tokenizer.encode("The city of Paris is old", SpecialTokens::kNone));
}

TEST(EncodePair, MovesWhiteSpaceFromTheContextsEndToTheContinuation) {
  const Tokenizer tokenizer = Tokenizer::load(kTokenizer);
  const TokenPair moved = encode_pair(tokenizer, "The city of \n ", "Paris");
  const TokenPair given = encode_pair(tokenizer, "The city of", " \n Paris");
  EXPECT_EQ(moved.context, given.context);
  EXPECT_EQ(moved.continuation, given.continuation);
}

TEST(EncodePair, LetsBosStandForAnEmptyContext) {
  const Tokenizer tokenizer = Tokenizer::load(kTokenizer);
  const TokenPair pair = encode_pair(tokenizer, "", " Paris");
  EXPECT_EQ(pair.context, std::vector<int>{*tokenizer.bos_id()});
  EXPECT_EQ(pair.continuation, tokenizer.encode(" Paris", SpecialTokens::kNone));
  EXPECT_EQ(encode_pair(tokenizer, " ", "Paris").continuation, pair.continuation);
}

TEST(EncodePair, PutsBosBeforeTheContextWhereAskedFor) {
  const Tokenizer tokenizer = Tokenizer::load(kTokenizer);
  const TokenPair plain = encode_pair(tokenizer, "The city of", " Paris");
  const TokenPair pair = encode_pair(tokenizer, "The city of", " Paris", SpecialTokens::kAdd);
  std::vector<int> context = {*tokenizer.bos_id()};
  context.insert(context.end(), plain.context.begin(), plain.context.end());
  EXPECT_EQ(pair.context, context);
  EXPECT_EQ(pair.continuation, plain.continuation);
  EXPECT_EQ(encode_pair(tokenizer, "", " Paris", SpecialTokens::kAdd).context,
            std::vector<int>{*tokenizer.bos_id()});
}

TEST(EncodePair, RefusesAContinuationOfNoTokens) {
  const Tokenizer tokenizer = Tokenizer::load(kTokenizer);
  EXPECT_REFUSED(encode_pair(tokenizer, "The city", ""), "adds no token");
}

class TinyScorer : public testing::Test {
 protected:
  Model load() {
    test::write_tiny_model(folder_.path() / "model", test::tiny_config("llama"));
    return Model::load(Checkpoint::open(folder_.path() / "model"), *backend_);
  }

  // The definition: softmax in double, of a forward pass of its own over the last tokens that fit.
  Likelihood naive(std::span<const int> context, std::span<const int> continuation) {
    std::vector<int> ids(context.begin(), context.end());
    ids.insert(ids.end(), continuation.begin(), continuation.end());
    if (ids.size() > 257) ids.erase(ids.begin(), ids.end() - 257);
    const size_t inputs = ids.size() - 1, vocab = 8192;
    KvPool pool = model_.make_pool(int64_t(inputs));
    KvSequence sequence(pool);
    const auto logits =
        test::logits_of(model_, model_.forward(std::span(ids).first(inputs), sequence));
    Likelihood result{.greedy = true};
    for (size_t i = ids.size() - continuation.size(); i < ids.size(); ++i) {
      const auto row = std::span(logits).subspan((i - 1) * vocab, vocab);
      double sum = 0;
      bool top = true;
      for (const float x : row) {
        sum += std::exp(double(x));
        top = top && x <= row[size_t(ids[i])];
      }
      result.log_p += std::log(std::exp(double(row[size_t(ids[i])])) / sum);
      result.greedy = result.greedy && top;
    }
    return result;
  }
  void expect_naive(LikelihoodScorer& scorer, std::span<const int> context,
                    std::span<const int> continuation) {
    const Likelihood got = scorer.score(context, continuation);
    const Likelihood want = naive(context, continuation);
    EXPECT_NEAR(got.log_p, want.log_p, 1e-4 * double(continuation.size()));
    EXPECT_EQ(got.greedy, want.greedy);
  }
  static std::vector<int> tokens(size_t count, int seed) {
    std::vector<int> ids;
    for (size_t i = 0; i < count; ++i) ids.push_back(int((i * i * 31 + size_t(seed)) % 8192));
    return ids;
  }

  const TestFolder folder_;
  const std::unique_ptr<Backend> backend_ = make_cpu_backend();
  Model model_ = load();
};

TEST_F(TinyScorer, GivesWhatAForwardPassOfItsOwnGivesWhateverItScoredBefore) {
  LikelihoodScorer scorer(model_, 100);
  const auto context = tokens(20, 1);
  for (const auto& continuation : {tokens(3, 7), tokens(1, 9), tokens(40, 7), tokens(3, 7)})
    expect_naive(scorer, context, continuation);
  expect_naive(scorer, std::span(context).first(5), tokens(4, 8));
  expect_naive(scorer, tokens(60, 2), tokens(4, 8));
  expect_naive(scorer, std::vector<int>{0}, std::vector<int>{5});
}

TEST_F(TinyScorer, GivesEqualContinuationsEqualLikelihoods) {
  LikelihoodScorer scorer(model_, 100);
  const double first = scorer.score(tokens(20, 1), tokens(6, 2)).log_p;
  EXPECT_EQ(scorer.score(tokens(20, 1), tokens(6, 2)).log_p, first);
  EXPECT_NE(scorer.score(tokens(20, 1), tokens(6, 3)).log_p, first);
  EXPECT_EQ(scorer.score(tokens(20, 1), tokens(6, 2)).log_p, first);
}

TEST_F(TinyScorer, RefusesIdsOutsideTheVocabularyThoughTheLastIsNeverRun) {
  LikelihoodScorer scorer(model_, 100);
  for (const int bad : {-1, 8192}) {
    EXPECT_REFUSED(scorer.score(std::vector{1, bad}, std::vector{2}),
                   fmt::format("position 1 of the context has the id {}", bad), "vocab_size 8192");
    EXPECT_REFUSED(scorer.score(std::vector{1}, std::vector{2, bad}),
                   fmt::format("position 1 of the continuation has the id {}", bad));
  }
}

TEST_F(TinyScorer, KnowsWhichContinuationIsGreedy) {
  const auto context = tokens(12, 3);
  std::vector<int> ids = context, greedy;
  for (int i = 0; i < 3; ++i) {
    KvPool pool = model_.make_pool(int64_t(ids.size()));
    KvSequence sequence(pool);
    const Activations hidden = model_.forward(ids, sequence);
    greedy.push_back(top_id(test::logits_of(model_, hidden.slice(hidden.rows - 1, 1))));
    ids.push_back(greedy.back());
  }
  LikelihoodScorer scorer(model_, 100);
  EXPECT_TRUE(scorer.score(context, greedy).greedy);
  greedy[1] = (greedy[1] + 1) % 8192;
  EXPECT_FALSE(scorer.score(context, greedy).greedy);
}

TEST_F(TinyScorer, DropsTheFirstTokensOfATextLongerThanTheModelsPositions) {
  LikelihoodScorer scorer(model_, 1000);
  const auto context = tokens(400, 5);
  expect_naive(scorer, context, tokens(3, 1));
  expect_naive(scorer, context, tokens(8, 1));
  expect_naive(scorer, context, tokens(256, 1));
  EXPECT_REFUSED(scorer.score(context, tokens(257, 1)), "257 tokens", "256 positions");
}

}  // namespace
}  // namespace emberq::likelihood_test
