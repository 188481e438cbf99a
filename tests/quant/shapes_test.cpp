// Every built-in method on models whose widths 128 does not divide and whose heads are no power of
// two: quantized, read back and run.
#include <gtest/gtest.h>

#include <cmath>

#include "base/json.h"
#include "checkpoint/checkpoint.h"
#include "engine/generate.h"
#include "model/model.h"
#include "quant/pipeline.h"
#include "support/logits.h"
#include "support/tiny_model.h"
#include "text/tokenizer.h"

namespace emberq::shapes_test {
namespace {

struct Shape {
  const char* name;
  int hidden, intermediate, heads, kv_heads, head_dim;
};
// Of SmolLM the intermediate sizes, which 128 divides, are a smaller multiple.
constexpr std::array kShapes = {
    Shape{"SmolLm135M", 576, 384, 9, 3, 64},
    Shape{"SmolLm360M", 960, 256, 15, 5, 64},
    Shape{"Columns1376HeadsOf80", 160, 1376, 2, 1, 80},
    Shape{"HeadsOf96", 192, 256, 4, 2, 96},
    Shape{"HeadsOf100", 128, 256, 8, 2, 100},
    Shape{"HeadsOf120", 128, 256, 4, 2, 120},
};

// By the words of docs/recipes.md.
int largest_group(int64_t inputs) {
  for (const int group : {128, 64, 32})
    if (inputs % group == 0) return group;
  return 0;
}

const fs::path kText = test::source_folder() / "data/enwiki-excerpt.txt";

// Of |a - b| over that of a.
double relative_error(const std::vector<float>& a, const std::vector<float>& b) {
  double difference = 0, size = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    difference += std::pow(double(a[i]) - double(b[i]), 2);
    size += std::pow(double(a[i]), 2);
  }
  return std::sqrt(difference / size);
}

class Shapes : public testing::TestWithParam<std::tuple<Shape, const char*>> {
 protected:
  Shapes() {
    Json config = test::tiny_config("llama");
    config["hidden_size"] = shape_.hidden, config["intermediate_size"] = shape_.intermediate;
    config["num_attention_heads"] = shape_.heads, config["num_key_value_heads"] = shape_.kv_heads;
    config["head_dim"] = shape_.head_dim, config["num_hidden_layers"] = 1;
    config["tie_word_embeddings"] = true;
    config["attention_bias"] = config["mlp_bias"] = false;
    test::write_tiny_model(model_, config);
    // What calibration has seen: so few tokens say little of others.
    ids_ = Tokenizer::load(model_).encode(read_text(kText).substr(0, 400), SpecialTokens::kNone);
    ids_.resize(24);
  }

  // The last token's logits, from `chunk` tokens at a time.
  std::vector<float> logits_of(const fs::path& folder, size_t chunk) {
    Model model = Model::load(Checkpoint::open(folder), *backend_);
    KvPool pool = model.make_pool(64);
    KvSequence sequence(pool);
    std::vector<float> logits;
    for (size_t i = 0; i < ids_.size(); i += chunk)
      logits = test::logits_of(model, model.forward(std::span(ids_).subspan(i, chunk), sequence));
    return {logits.end() - model.config().vocab_size, logits.end()};
  }

  const Shape shape_ = std::get<0>(GetParam());
  const Recipe recipe_ = find_recipe(std::get<1>(GetParam()));
  const TestFolder folder_;
  const fs::path model_ = folder_.path() / "model", out_ = folder_.path() / "out";
  const std::unique_ptr<Backend> backend_ = make_cpu_backend();
  std::vector<int> ids_;
};

TEST_P(Shapes, AreQuantizedInTheLargestGroupsThatDivideAndRunAfterwards) {
  const QuantizeResult report = quantize({.model = model_,
                                          .output = out_,
                                          .recipe = recipe_,
                                          .calibration = {kText},
                                          .calibration_windows = 2,
                                          .calibration_length = 32},
                                         *backend_);
  const Checkpoint checkpoint = Checkpoint::open(out_);
  for (const Projection module : kProjections) {
    const auto scheme = checkpoint.linear_scheme(linear_name(0, module));
    ASSERT_TRUE(scheme.has_value());
    const int group = largest_group(inputs(checkpoint.config(), module));
    const bool by_row = recipe_.weights[0]->group_size == 0;
    EXPECT_EQ(scheme->weight.group_size, by_row ? 0 : group) << short_name(module);
    const bool grouped = recipe_.activations[0].group_size > 0;
    EXPECT_EQ(scheme->activation.group_size, grouped ? group : 0) << short_name(module);
    EXPECT_TRUE(recipe_.bit_allocation ||
                scheme->weight.bits == recipe_.weights[size_t(module)]->bits)
        << short_name(module);
  }
  EXPECT_LE(report.bits_per_weight,
            recipe_.bit_allocation ? recipe_.bit_allocation->target_bits + 1e-9 : 8.5);

  // A normal group's step is some 2.7 sigma / 7 at four bits: a relative error of 0.11 in each of
  // about five roundings in a row. At six bits a quarter of that, for inputs too.
  const bool four_bits = recipe_.weights[0]->bits == 4;
  const std::vector<float> logits = logits_of(out_, 24);
  const double error = relative_error(logits_of(model_, 24), logits);
  EXPECT_LT(error, four_bits ? 0.5 : 0.17);
  EXPECT_GT(error, 1e-4);
  // Sums in another order turn a rounding here and there, which moves less than all of them do.
  EXPECT_LT(relative_error(logits, logits_of(out_, 1)), error);

  Model model = Model::load(checkpoint, *backend_);
  EXPECT_EQ(generate(model, ids_, {.max_new_tokens = 4}).ids.size(), 4u);
}

INSTANTIATE_TEST_SUITE_P(Methods, Shapes,
                         testing::Combine(testing::ValuesIn(kShapes),
                                          testing::Values("emberq4", "emberq6", "mixed", "fireq",
                                                          "flexq", "smoothquant", "qserve")),
                         [](const auto& p) {
                           return std::string(std::get<0>(p.param).name) + "_" +
                                  std::get<1>(p.param);
                         });

}  // namespace
}  // namespace emberq::shapes_test
