#include "eval/perplexity.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cmath>

#include "base/error.h"
#include "base/json.h"
#include "support/refusal.h"
#include "support/shared.h"
#include "text/tokenizer.h"

namespace emberq::perplexity_test {
namespace {

class BundledModel : public testing::Test {
 protected:
  std::string complaint(const PerplexityOptions& options) { return complaint(options, ids_); }
  std::string complaint(const PerplexityOptions& options, std::span<const int> ids) {
    return refusal([&] { perplexity(model_, ids, options); });
  }

  const fs::path folder_ = test::source_folder() / "models/nano-wiki";
  const std::unique_ptr<Backend> backend_ = make_cpu_backend();
  Model model_ = Model::load(Checkpoint::open(folder_), *backend_);
  const std::vector<int> ids_ = Tokenizer::load(folder_).encode(
      read_text(test::source_folder() / "data/wikitext2-excerpt.txt"), SpecialTokens::kNone);
};

TEST_F(BundledModel, HasTheLikelihoodsOfTransformersWindowByWindow) {
  const Json golden = read_json(test::source_folder() / "tests/golden/model/nano-wiki.json");
  EXPECT_EQ(int64_t(ids_.size()), golden["tokens"].get<int64_t>());
  const int64_t window = golden["window"].get<int64_t>();
  const auto nll = golden["nll"].get<std::vector<double>>();
  for (int64_t w = 0; w < 12; ++w) {
    const std::span<const int> ids(ids_.data() + w * window, size_t(window));
    const Perplexity result = perplexity(model_, ids, {.window = window});
    EXPECT_NEAR(result.nll_sum, nll[size_t(w)], 1e-5 * nll[size_t(w)]) << w;
    EXPECT_EQ(result.predicted_tokens, window - 1);
  }
}

TEST_F(BundledModel, CountsWholeWindowsAndDropsTheTail) {
  const std::span<const int> ids(ids_.data(), 5 * 100 + 99);
  const Perplexity all = perplexity(model_, ids, {.window = 100});
  EXPECT_EQ(all.windows, 5);
  EXPECT_EQ(all.predicted_tokens, 5 * 99);
  EXPECT_DOUBLE_EQ(all.ppl, std::exp(all.nll_sum / (5 * 99)));
  EXPECT_EQ(perplexity(model_, ids, {.window = 100, .max_windows = 2}).windows, 2);
}

TEST_F(BundledModel, RefusesWindowsThatDoNotFit) {
  EXPECT_NE(complaint({.window = 4096}).find("longer than the model's 2048 positions"),
            std::string::npos);
  EXPECT_NE(complaint({.window = 1}).find("at least 2 tokens"), std::string::npos);
  EXPECT_THROW(perplexity(model_, std::span(ids_).first(99), {.window = 100}), InputError);
}

TEST_F(BundledModel, RefusesAnIdOutsideTheVocabularyByItsPositionUnlessItIsInTheTail) {
  const auto vocabulary = int(model_.config().vocab_size);
  for (const int bad : {-1, vocabulary}) {
    std::vector<int> ids(ids_.begin(), ids_.begin() + 250);
    ids[249] = bad;
    EXPECT_EQ(perplexity(model_, ids, {.window = 100}).windows, 2);
    ids[150] = bad;
    EXPECT_EQ(complaint({.window = 100}, ids),
              fmt::format("the token at position 150 of the text has the id {}, which is outside "
                          "the model's vocabulary (vocab_size {})",
                          bad, vocabulary));
  }
}

}  // namespace
}  // namespace emberq::perplexity_test
