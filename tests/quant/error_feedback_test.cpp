// What error feedback does to whole models: to their biases, and where calibration text is little.
#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "base/check.h"
#include "base/json.h"
#include "eval/divergence.h"
#include "quant/pipeline.h"
#include "quant/rounding/quantized_weight_io.h"
#include "support/tiny_model.h"
#include "text/tokenizer.h"

namespace emberq::error_feedback_test {
namespace {

constexpr int64_t kWindow = 64;

// Ids from `first` on, `count` different ones, at random.
std::vector<int> random_ids(int64_t length, int first, int count, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::vector<int> ids;
  for (int64_t i = 0; i < length; ++i) ids.push_back(first + int(random() % uint64_t(count)));
  return ids;
}

// Letters a to z with spaces between them: 26 different tokens, or two more.
std::string random_letters(int64_t count, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::string text;
  for (int64_t i = 0; i < count; ++i) text += {char('a' + random() % 26), ' '};
  return text;
}

class ErrorFeedback : public testing::Test {
 protected:
  fs::path model(const std::string& name, const Json& config) {
    test::write_tiny_model(folder_.path() / name, config);
    return folder_.path() / name;
  }

  fs::path run(const fs::path& model, const Recipe& recipe, const fs::path& text, int64_t windows) {
    const fs::path out = folder_.path() / fmt::format("out-{}", made_++);
    quantize({.model = model,
              .output = out,
              .recipe = recipe,
              .calibration = {text},
              .calibration_windows = windows,
              .calibration_length = kWindow},
             *backend_);
    return out;
  }

  double kl(const fs::path& original, const fs::path& quantized, const std::vector<int>& ids) {
    Model a = Model::load(Checkpoint::open(original), *backend_);
    Model b = Model::load(Checkpoint::open(quantized), *backend_);
    return divergence(a, b, ids, {.window = kWindow}).kl;
  }

  const TestFolder folder_;
  const std::unique_ptr<Backend> backend_ = make_cpu_backend();
  const fs::path excerpt_ = test::source_folder() / "data/enwiki-excerpt.txt";
  int made_ = 0;
};

Json biased(const std::string& family, bool attention, bool mlp) {
  Json config = test::tiny_config(family);
  config["attention_bias"] = attention;
  if (family == "llama") config["mlp_bias"] = mlp;
  return config;
}

// Nothing but the weights is rounded, so layer 0's o_proj sees nearly what the original's does, and
// what is left of W' - W is rounding: half a step at most and a third of one in the mean.
TEST_F(ErrorFeedback, LeavesBiasesOutOfTheWeights) {
  Recipe recipe;
  recipe.name = "gptq";
  recipe.weights.fill(WeightScheme{.bits = 8});
  recipe.rounding.gptq = true;
  for (const auto& [family, mlp] : {std::pair("llama", true), std::pair("qwen3", false)}) {
    const fs::path original = model(family, biased(family, true, mlp));
    const fs::path quantized = run(original, recipe, excerpt_, 16);
    const Checkpoint before = Checkpoint::open(original), after = Checkpoint::open(quantized);
    for (const Projection module : {Projection::kO, Projection::kDown}) {
      const std::string name = linear_name(0, module);
      const std::vector<float> w = before.get(name + ".weight").to_float();
      const QuantizedWeight q =
          after.linear(name, outputs(before.config(), module), inputs(before.config(), module))
              ->weight;
      const std::vector<float> rounded = unpack(q), scale = q.scale.to_float();
      double squares = 0;
      for (size_t i = 0; i < w.size(); ++i) {
        const double steps = double(w[i] - rounded[i]) / double(scale[i / size_t(q.k)]);
        squares += steps * steps / double(w.size());
      }
      EXPECT_LT(std::sqrt(squares), 0.5) << family << " " << name;
    }
  }
}

TEST_F(ErrorFeedback, LosesAboutTheSameWithBiasesAndWithout) {
  const std::vector<int> ids = random_ids(8 * kWindow, 0, 8192, 1);
  for (const char* name : {"emberq4", "emberq6"})
    for (const char* family : {"llama", "qwen3"}) {
      const auto loss = [&](bool biases) {
        const fs::path original =
            model(fmt::format("{}-{}-{}", name, family, biases), biased(family, biases, biases));
        return kl(original, run(original, find_recipe(name), excerpt_, 16), ids);
      };
      const double without = loss(false), with = loss(true);
      EXPECT_LT(with, 1.5 * without) << name << " " << family;
    }
}

// Calibrated on 26 letters, which leave most directions of the inputs unseen: on more of them no
// worse than rounding with searched scales; on tokens that the calibration text does not have,
// where nothing can be gained, than plain rounding.
TEST_F(ErrorFeedback, OfLittleTextLosesNoMoreThanRoundingToNearest) {
  Json config = biased("llama", false, false);
  config["hidden_size"] = 256;
  config["intermediate_size"] = 512;
  config["head_dim"] = 64;
  const fs::path original = model("llama", config), letters = folder_.path() / "letters.txt";
  write_text(letters, random_letters(4000, 1));
  const Recipe ours = find_recipe("emberq4");
  Recipe plain = ours, searched = ours;
  plain.rounding = {.gptq = false, .scale = ScaleRule::kAbsmax};
  searched.rounding = {.gptq = false, .scale = ScaleRule::kLeastSquares};
  const std::vector<int> like =
      Tokenizer::load(original).encode(random_letters(600, 2), SpecialTokens::kNone);
  const std::vector<int> unlike = random_ids(int64_t(like.size()), 4000, 4000, 3);
  for (const int64_t windows : {1, 32}) {
    const auto made = [&](const Recipe& recipe) { return run(original, recipe, letters, windows); };
    const fs::path fed_back = made(ours), fireq = made(find_recipe("fireq"));
    const double loss_like = kl(original, fed_back, like);
    EXPECT_LE(loss_like, kl(original, made(searched), like)) << windows;
    EXPECT_LE(loss_like, kl(original, fireq, like)) << windows;
    const double loss_unlike = kl(original, fed_back, unlike);
    EXPECT_LE(loss_unlike, kl(original, made(plain), unlike)) << windows;
    EXPECT_LE(loss_unlike, kl(original, fireq, unlike)) << windows;
  }
}

}  // namespace
}  // namespace emberq::error_feedback_test
