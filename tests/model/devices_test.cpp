// Whole models on a GPU against the CPU backend, and against themselves in other batches.
#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <tuple>

#include "model/model.h"
#include "support/backends.h"
#include "support/kv_schemes.h"
#include "support/logits.h"
#include "support/test_folder.h"
#include "support/tiny_model.h"

namespace emberq::devices_test {
namespace {

using Logits = std::vector<float>;

std::vector<int> text(int count, int seed) {
  std::vector<int> ids;
  for (int i = 0; i < count; ++i) ids.push_back((i * i * 31 + i * 7 + seed * 1009) % 8192);
  return ids;
}

// The logits that follow each token of `ids`, whose chunks have these lengths, the last one again
// and again. `before` is in the cache already.
Logits run(Model& model, const std::vector<int>& ids, const std::vector<int64_t>& chunks) {
  KvPool pool = model.make_pool(16, 20);
  KvSequence sequence(pool);
  Logits all;
  for (size_t i = 0, at = 0; at < ids.size(); ++i) {
    const auto count = std::min(ids.size() - at, size_t(chunks[std::min(i, chunks.size() - 1)]));
    const Logits logits =
        test::logits_of(model, model.forward(std::span(ids).subspan(at, count), sequence));
    all.insert(all.end(), logits.begin(), logits.end());
    at += count;
  }
  return all;
}

double rms(const Logits& x) {
  double sum = 0;
  for (const float value : x) sum += double(value) * double(value);
  return std::sqrt(sum / double(x.size()));
}
double rms_of_difference(const Logits& a, const Logits& b) {
  Logits difference;
  for (size_t i = 0; i < a.size(); ++i) difference.push_back(a[i] - b[i]);
  return rms(difference);
}

class ModelOnCuda
    : public testing::TestWithParam<std::tuple<std::string, std::string, KvScheme, int>> {
 protected:
  void SetUp() override {
    const auto& [backend, family, kv, head_dim] = GetParam();
    backend_ = test::make_backend(backend);
    if (!backend_) GTEST_SKIP() << "no CUDA device";
    Json config = test::tiny_config(family);
    config["head_dim"] = head_dim;
    test::write_tiny_model(folder_.path() / "model", config);
  }
  Model load(Backend& backend) const {
    return Model::load(Checkpoint::open(folder_.path() / "model"), backend,
                       std::get<2>(GetParam()));
  }

  const TestFolder folder_;
  std::unique_ptr<Backend> backend_;
};

// BF16 rounds a number by up to 2^-9 of it, 2^-9 / sqrt(3) in the mean square. Some ten operations
// of a layer round their results, each of two layers; what they leave adds up in squares, and norms
// and products may double it. A key or value near the border of two codes of width w turns over
// with probability 2^-9 / w and moves by w, which is sqrt(2^-9 w) in the mean square: w is at most
// 0.4 standard deviations of a vector, for K and for V.
TEST_P(ModelOnCuda, GivesTheLogitsOfTheCpuBackend) {
  const auto cpu = make_cpu_backend();
  Model reference = load(*cpu), model = load(*backend_);
  const double rounding = 2 * std::sqrt(2 * 10.0) * 0x1p-9 / std::sqrt(3.0);
  const double turned =
      std::get<2>(GetParam()) == KvScheme::kFp ? 0.0 : 2 * std::sqrt(0x1p-9 * 0.4);
  const Logits want = run(reference, text(70, 1), {70}), got = run(model, text(70, 1), {70});
  EXPECT_LE(rms_of_difference(got, want), (rounding + turned) * rms(want));
}

TEST_P(ModelOnCuda, GivesTheSameBitsHoweverAPromptIsCut) {
  if (std::get<0>(GetParam()) != "cuda-batch-invariant") GTEST_SKIP() << "is not promised";
  Model model = load(*backend_);
  const Logits whole = run(model, text(70, 1), {70});
  for (const std::vector<int64_t>& chunks :
       {std::vector<int64_t>{1}, {7}, {64}, {48, 1}})  // the last as after a prefix of 48
    EXPECT_EQ(run(model, text(70, 1), chunks), whole) << chunks.front();
}

TEST_P(ModelOnCuda, GivesTheSameBitsInABatchOf17) {
  if (std::get<0>(GetParam()) != "cuda-batch-invariant") GTEST_SKIP() << "is not promised";
  Model model = load(*backend_);
  KvPool pool = model.make_pool(16, 120);
  std::vector<KvSequence> sequences;
  std::vector<std::vector<int>> texts;
  std::vector<Model::NewTokens> batch;
  for (int i = 0; i < 17; ++i) {
    sequences.emplace_back(pool);
    texts.push_back(text(i == 9 ? 70 : 1 + i * 5, i == 9 ? 1 : 30 + i));
  }
  for (size_t i = 0; i < 17; ++i) batch.push_back({texts[i], &sequences[i]});
  size_t row = 0;
  for (size_t i = 0; i < 9; ++i) row += texts[i].size();
  const Logits all = test::logits_of(model, model.forward(batch, pool));
  const Logits whole = run(model, texts[9], {70});
  const auto from = all.begin() + std::ptrdiff_t(row * 8192);
  EXPECT_EQ(Logits(from, from + std::ptrdiff_t(whole.size())), whole);
}

std::string name_of(const testing::TestParamInfo<ModelOnCuda::ParamType>& info) {
  const auto& [backend, family, kv, head_dim] = info.param;
  std::string name_text = backend + "_" + family + "_" + std::string(name(kv)) + "_heads_of_" +
                          std::to_string(head_dim);
  std::replace(name_text.begin(), name_text.end(), '-', '_');
  return name_text;
}
INSTANTIATE_TEST_SUITE_P(Families, ModelOnCuda,
                         testing::Combine(testing::Values("cuda", "cuda-batch-invariant"),
                                          testing::Values("llama", "mistral", "qwen2", "qwen3"),
                                          testing::ValuesIn(test::kv_schemes()),
                                          testing::Values(64)),
                         name_of);
INSTANTIATE_TEST_SUITE_P(HeadDims, ModelOnCuda,
                         testing::Combine(testing::Values("cuda", "cuda-batch-invariant"),
                                          testing::Values("qwen3"),
                                          testing::Values(KvScheme::kFp, KvScheme::kInt4AsymMse),
                                          testing::Values(32, 96, 128, 256)),
                         name_of);

}  // namespace
}  // namespace emberq::devices_test
