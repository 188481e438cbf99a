// Logits against those of transformers in FP32.
#include <gtest/gtest.h>

#include <cmath>

#include "format/bf16.h"
#include "model/model.h"
#include "support/logits.h"
#include "support/shared.h"

namespace emberq::golden_logits_test {
namespace {

// The largest |difference| of a model's logits from a golden file's, `chunk` tokens at a time.
double largest_difference(Model& model, const fs::path& golden_file, int64_t chunk) {
  const SafetensorsFile golden(golden_file);
  const Tensor ids = golden.get("input_ids");
  const std::vector<float> expected = golden.get("logits").to_float();
  const int64_t sequences = ids.shape().size() == 2 ? ids.shape()[0] : 1;
  const int64_t tokens = ids.size() / sequences, vocab = model.config().vocab_size;
  double largest = 0;
  for (int64_t s = 0; s < sequences; ++s) {
    KvPool pool = model.make_pool(tokens);
    KvSequence sequence(pool);
    for (int64_t first = 0; first < tokens; first += chunk) {
      const int64_t count = std::min(chunk, tokens - first);
      const std::span<const int> part(ids.data<int>() + s * tokens + first, size_t(count));
      const std::vector<float> logits = test::logits_of(model, model.forward(part, sequence));
      const float* golden_rows = expected.data() + (s * tokens + first) * vocab;
      for (size_t i = 0; i < logits.size(); ++i)
        largest = std::max(largest, std::abs(double(logits[i]) - double(golden_rows[i])));
    }
  }
  return largest;
}

struct Loaded {
  std::unique_ptr<Backend> backend = make_cpu_backend();
  Model model;
  explicit Loaded(const fs::path& folder)
      : model(Model::load(Checkpoint::open(folder), *backend)) {}
};

std::string test_name(const testing::TestParamInfo<std::string>& p) {
  std::string name = p.param;
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
}

constexpr double kBound = 2e-4;

class RandomModel : public testing::TestWithParam<std::string> {
 protected:
  fs::path folder() const { return test::shared_folder() / "models/golden" / GetParam(); }
  fs::path golden() const {
    return test::source_folder() / "tests/golden/model" / (GetParam() + ".safetensors");
  }
};

TEST_P(RandomModel, HasTheLogitsOfTransformers) {
  EMBERQ_NEEDS_SHARED("models/golden/" + GetParam());
  Loaded loaded(folder());
  EXPECT_LE(largest_difference(loaded.model, golden(), 4096), kBound);
}

TEST_P(RandomModel, HasThemTokenByToken) {
  EMBERQ_NEEDS_SHARED("models/golden/" + GetParam());
  Loaded loaded(folder());
  EXPECT_LE(largest_difference(loaded.model, golden(), 1), kBound);
}

// golden_logits.safetensors of these folders come from models cast to BF16 and back, a RoPE
// frequency with them (tools/make_model_golden.py).
TEST_P(RandomModel, HasTheLogitsOfOneCastToBf16AndBackWhenItsFrequenciesAre) {
  EMBERQ_NEEDS_SHARED("models/golden/" + GetParam());
  Loaded loaded(folder());
  std::vector<double> rounded;
  for (const double f : loaded.model.rope_frequencies())
    rounded.push_back(double(bf16::from_float(float(f)).to_float()));
  loaded.model.set_rope_frequencies(rounded);
  EXPECT_LE(largest_difference(loaded.model, folder() / "golden_logits.safetensors", 4096), kBound);
}

INSTANTIATE_TEST_SUITE_P(Families, RandomModel,
                         testing::Values("tiny-llama", "tiny-llama31", "tiny-mistral", "tiny-qwen2",
                                         "tiny-qwen3"),
                         test_name);

class TrainedModel : public testing::TestWithParam<std::string> {};

TEST_P(TrainedModel, HasTheLogitsOfTransformers) {
  EMBERQ_NEEDS_SHARED("models/" + GetParam());
  const fs::path folder = test::shared_folder() / "models" / GetParam();
  Loaded loaded(folder);
  for (const int64_t chunk : {48, 11, 1})
    EXPECT_LE(largest_difference(loaded.model, folder / "golden_logits.safetensors", chunk),
              kBound);
}

INSTANTIATE_TEST_SUITE_P(Wiki, TrainedModel, testing::Values("nano-wiki", "small-wiki"), test_name);

}  // namespace
}  // namespace emberq::golden_logits_test
