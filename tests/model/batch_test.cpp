// Model::forward of ragged batches over a paged cache.
#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <optional>
#include <string>
#include <tuple>

#include "model/model.h"
#include "support/kv_schemes.h"
#include "support/logits.h"
#include "support/test_folder.h"
#include "support/tiny_model.h"

namespace emberq::batch_test {
namespace {

std::vector<int> tokens(int count, int seed) {
  std::vector<int> ids;
  for (int i = 0; i < count; ++i) ids.push_back((i * i * 31 + i * 7 + seed * 1009) % 8192);
  return ids;
}

using Rows = std::vector<std::vector<float>>;  // logits of one token each

// Prompts of several lengths beside single tokens: in which steps, from which sequence how many.
using Step = std::vector<std::pair<size_t, int64_t>>;
const std::vector<Step> kSteps = {{{0, 33}, {1, 1}, {2, 16}},
                                  {{1, 2}, {0, 7}, {2, 1}},
                                  {{2, 1}, {0, 1}, {1, 1}},
                                  {{2, 14}, {1, 1}}};
const std::vector<std::vector<int>> kTexts = {tokens(41, 1), tokens(5, 2), tokens(32, 3)};

Rows rows_of(Model& model, const Activations& hidden) {
  const std::vector<float> logits = test::logits_of(model, hidden);
  Rows rows;
  for (auto row = logits.begin(); row != logits.end(); row += 8192)
    rows.emplace_back(row, row + 8192);
  return rows;
}

// The logits that follow each token of each text.
std::vector<Rows> in_batches(Model& model, int64_t page_tokens) {
  KvPool pool = model.make_pool(page_tokens, 100 / page_tokens + 3);
  std::vector<KvSequence> sequences;
  for (size_t s = 0; s < kTexts.size(); ++s) sequences.emplace_back(pool);
  std::vector<Rows> result(kTexts.size());
  for (const Step& step : kSteps) {
    std::vector<Model::NewTokens> batch;
    for (const auto& [s, count] : step)
      batch.push_back({std::span(kTexts[s]).subspan(size_t(sequences[s].length()), size_t(count)),
                       &sequences[s]});
    const Rows rows = rows_of(model, model.forward(batch, pool));
    auto row = rows.begin();
    for (const auto& [s, count] : step)
      for (int64_t i = 0; i < count; ++i) result[s].push_back(*row++);
  }
  return result;
}

std::vector<Rows> alone(Model& model) {
  std::vector<Rows> result;
  for (const std::vector<int>& text : kTexts) {
    KvPool pool = model.make_pool(int64_t(text.size()));
    KvSequence sequence(pool);
    result.push_back(rows_of(model, model.forward(text, sequence)));
  }
  return result;
}

double largest_difference(const std::vector<Rows>& a, const std::vector<Rows>& b) {
  double largest = 0;
  for (size_t s = 0; s < a.size(); ++s)
    for (size_t t = 0; t < a[s].size(); ++t)
      for (size_t i = 0; i < a[s][t].size(); ++i)
        largest = std::max(largest, std::abs(double(a[s][t][i]) - double(b[s][t][i])));
  return largest;
}

// A random model of a family in a folder, and a backend to load it on.
class TinyModel {
 public:
  explicit TinyModel(const std::string& family) {
    test::write_tiny_model(folder_.path() / "model", test::tiny_config(family));
  }
  Model load(std::optional<KvScheme> kv = std::nullopt) const {
    return Model::load(Checkpoint::open(folder_.path() / "model"), *backend_, kv);
  }

 private:
  const TestFolder folder_;
  const std::unique_ptr<Backend> backend_ = make_cpu_backend();
};

class BatchOf : public testing::TestWithParam<std::tuple<std::string, KvScheme>> {
 protected:
  const TinyModel tiny_ = TinyModel(std::get<0>(GetParam()));
};

// A product's sums may add up in another order where it has other rows beside it, and so may turn
// the rounding of a key or value. FP: logits of 1 to 5 through two layers, as in the golden tests.
// Codes: less than what rounding all keys and values does.
TEST_P(BatchOf, RaggedSequencesGivesEachWhatItGetsAlone) {
  const KvScheme kv = std::get<1>(GetParam());
  double bound = 2e-5;
  std::vector<Rows> want;
  {
    Model model = tiny_.load(kv);
    want = alone(model);
    if (kv != KvScheme::kFp) {
      Model exact = tiny_.load(KvScheme::kFp);
      bound = largest_difference(want, alone(exact)) / 2;
    }
  }
  Model model = tiny_.load(kv);
  for (const int64_t page_tokens : {1, 16})
    EXPECT_LE(largest_difference(in_batches(model, page_tokens), want), bound) << page_tokens;
}

std::string name_of(const testing::TestParamInfo<BatchOf::ParamType>& info) {
  const auto& [family, kv] = info.param;
  std::string text = family + "_" + std::string(name(kv));
  std::replace(text.begin(), text.end(), '-', '_');
  return text;
}
INSTANTIATE_TEST_SUITE_P(Families, BatchOf,
                         testing::Combine(testing::Values("llama", "mistral", "qwen2", "qwen3"),
                                          testing::ValuesIn(test::kv_schemes())),
                         name_of);

TEST(ChosenRows, OfABatchHaveTheLogitsOfTheirHiddenStates) {
  const TinyModel llama("llama");
  Model model = llama.load();
  KvPool pool = model.make_pool(16, 4);
  KvSequence first(pool), second(pool);
  const std::vector<int> seven = tokens(7, 1), three = tokens(3, 2);
  const Model::NewTokens batch[] = {{seven, &first}, {three, &second}};
  const Activations hidden = model.forward(batch, pool);
  LogitRows rows(model, 2);
  const std::vector<int32_t> last = {6, 9};  // of each sequence
  const Matrix<const float> logits = rows.on_host(hidden, last);
  ASSERT_EQ(logits.rows, 2);
  for (int64_t i = 0; i < 2; ++i)
    EXPECT_EQ(std::vector<float>(logits.row(i), logits.row(i) + logits.cols),
              test::logits_of(model, hidden.slice(last[size_t(i)], 1)));
  EXPECT_THROW(rows.on_host(hidden, std::vector<int32_t>{10}), Error);
  EXPECT_THROW(rows.on_host(hidden), Error);  // ten rows where two fit
}

TEST(ForwardPass, ChangesNothingWhereItRefusesABatch) {
  const TinyModel llama("llama");
  Model model = llama.load();
  KvPool pool = model.make_pool(16, 4);
  KvSequence good(pool), bad(pool);
  model.forward(tokens(10, 1), good);
  const std::vector<int> fine = tokens(8, 2), unknown = {5, 8192}, much = tokens(40, 3);
  const auto expect = [&](const std::vector<int>& ids, const auto& is_right) {
    const Model::NewTokens batch[] = {{fine, &good}, {ids, &bad}};
    try {
      model.forward(batch, pool);
      FAIL() << "ran";
    } catch (const Error& e) {
      EXPECT_TRUE(is_right(e)) << e.what();
    }
    EXPECT_EQ(good.length(), 10);
    EXPECT_EQ(good.pages().size(), 1u);
    EXPECT_EQ(bad.pages().size(), 0u);
    EXPECT_EQ(pool.free_pages(), 3);
  };
  expect(unknown, [](const Error& e) { return dynamic_cast<const InputError*>(&e) != nullptr; });
  expect(much, [](const Error& e) { return dynamic_cast<const KvPoolFull*>(&e) != nullptr; });
}

}  // namespace
}  // namespace emberq::batch_test
