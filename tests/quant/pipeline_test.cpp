#include "quant/pipeline.h"

#include <gtest/gtest.h>

#include <cmath>

#include "checkpoint/checkpoint.h"
#include "model/model.h"
#include "support/refusal.h"
#include "support/tiny_model.h"

namespace emberq {
namespace {

std::vector<int> some_ids() {
  std::vector<int> ids;
  for (int i = 0; i < 40; ++i) ids.push_back((i * 797 + 13) % 8192);
  return ids;
}

std::vector<float> logits_of(const fs::path& folder, std::optional<KvScheme> kv = std::nullopt) {
  const auto backend = make_cpu_backend();
  Model model = Model::load(Checkpoint::open(folder), *backend, kv);
  KvCache cache = model.make_cache(64);
  return model.logits(model.forward(some_ids(), cache));
}

double largest_difference(const std::vector<float>& a, const std::vector<float>& b) {
  double largest = 0;
  for (size_t i = 0; i < a.size(); ++i)
    largest = std::max(largest, std::abs(double(a[i]) - double(b[i])));
  return largest;
}

class Pipeline : public testing::TestWithParam<std::string> {
 protected:
  Pipeline() { test::write_tiny_model(model_, test::tiny_config(GetParam())); }

  fs::path run(Recipe recipe) {
    const fs::path out = folder_.path() / recipe.name;
    quantize({.model = model_,
              .output = out,
              .recipe = std::move(recipe),
              .calibration = {test::source_folder() / "data/enwiki-excerpt.txt"},
              .calibration_windows = 3,
              .calibration_length = 64},
             *backend_);
    return out;
  }

  const TestFolder folder_;
  const fs::path model_ = folder_.path() / "model";
  const std::unique_ptr<Backend> backend_ = make_cpu_backend();
};

// FP32 rounding through two layers and a head: logits of size 1 to 5 move by some 1e-6.
TEST_P(Pipeline, SmoothingAloneLeavesTheLogits) {
  Recipe recipe = find_recipe("fireq-smoothing");
  recipe.qkv = recipe.o = ChannelScale{};
  const fs::path out = run(recipe);
  const Checkpoint checkpoint = Checkpoint::open(out);
  EXPECT_FALSE(checkpoint.attention().post_rope.empty());
  EXPECT_EQ(checkpoint.get(layer_tensor(0, "post_attention_layernorm.weight")).dtype(),
            DType::kF32);
  EXPECT_LE(largest_difference(logits_of(out), logits_of(model_)), 2e-5);
}

TEST_P(Pipeline, FireqGivesACheckpointWhoseEveryPartIsRounded) {
  const fs::path out = run(find_recipe("fireq"));
  const Checkpoint checkpoint = Checkpoint::open(out);
  for (const Module module : kModules) {
    const auto scheme = checkpoint.linear_scheme(linear_name(1, module));
    ASSERT_TRUE(scheme);
    EXPECT_EQ(scheme->weight, (WeightScheme{4, 128, WeightProduct::kE4m3}));
    EXPECT_EQ(scheme->activation, ActivationScheme::kFp8Token);
  }
  EXPECT_EQ(checkpoint.attention().kv, KvScheme::kInt4Head);
  EXPECT_EQ(checkpoint.attention().query, QueryScheme::kFp8Head);
  EXPECT_EQ(checkpoint.get("model.embed_tokens.weight").dtype(), DType::kBF16);
  const double moved = largest_difference(logits_of(out), logits_of(model_));
  EXPECT_GT(moved, 1e-3);
  EXPECT_LT(moved, 3);
  EXPECT_NE(logits_of(out), logits_of(out, KvScheme::kFp));
}

TEST_P(Pipeline, ProductsOfLut4AreReadBesideWeightsThatHaveNone) {
  const WeightScheme products = *weight_scheme_from_name("lut4-g128-e4m3");
  Recipe recipe = with_four_bit_weights(find_recipe("emberq4"), products);
  recipe.weights[size_t(Module::kDown)] = weight_scheme_from_name("fp6-g128");  // a block's last
  const fs::path out = run(recipe);
  const Checkpoint checkpoint = Checkpoint::open(out);
  for (const Module module : kModules)
    EXPECT_EQ(checkpoint.linear_scheme(linear_name(1, module))->weight,
              *recipe.weights[size_t(module)])
        << short_name(module);
  EXPECT_FALSE(checkpoint.side_file().per_tensor_scale.empty());
  EXPECT_LT(largest_difference(logits_of(out), logits_of(model_)), 3);
}

TEST_P(Pipeline, SavedAndLoadedAgainHasTheSameLogitsBitForBit) {
  const fs::path out = run(find_recipe("fireq"));
  const std::vector<float> logits = logits_of(out);
  const fs::path again = folder_.path() / "again";
  fs::create_directory(again);
  {
    const Checkpoint checkpoint = Checkpoint::open(out);
    SafetensorsWriter writer(again, {.max_shard_bytes = 300'000});
    for (const std::string& name : checkpoint.names()) writer.add(name, checkpoint.get(name));
    writer.finish();
    for (const char* file : {"config.json", "emberq.json"}) fs::copy_file(out / file, again / file);
  }
  EXPECT_EQ(logits_of(again), logits);
  EXPECT_TRUE(fs::exists(again / "model.safetensors.index.json"));
}

TEST_P(Pipeline, OfTheSameModelTwiceWritesTheSameBytes) {
  Recipe recipe = find_recipe("fireq");
  const fs::path a = run(recipe);
  recipe.name = "twice";
  const fs::path b = run(recipe);
  for (const auto& entry : fs::directory_iterator(a)) {
    if (entry.path().extension() != ".safetensors") continue;
    EXPECT_EQ(read_text(entry.path()), read_text(b / entry.path().filename()));
  }
}

// What rotations, balanced scales and means do to the weights leaves what the model computes.
TEST_P(Pipeline, RotationsAndScalesAloneLeaveTheLogits) {
  for (const char* name : {"emberq4", "emberq6"}) {
    Recipe recipe = find_recipe(name);
    recipe.weights.fill(std::nullopt);
    recipe.activations.fill(ActivationScheme::kNone);
    recipe.kv = KvScheme::kFp;
    recipe.query = QueryScheme::kNone;
    recipe.probability = ProbabilityScheme::kNone;
    const fs::path out = run(recipe);
    // The table of a rotated model is in BF16 as the original's was: 2^-9 of each entry.
    const double bound = recipe.rotation.residual ? 0.05 : 2e-4;
    EXPECT_LE(largest_difference(logits_of(out), logits_of(model_)), bound) << name;
  }
}

TEST_P(Pipeline, ResumedWritesTheBytesOfARunThatWasNotInterrupted) {
  const Recipe recipe = find_recipe("emberq6");
  const fs::path whole = run(recipe), out = folder_.path() / "resumed";
  QuantizeOptions options{.model = model_,
                          .output = out,
                          .recipe = recipe,
                          .calibration = {test::source_folder() / "data/enwiki-excerpt.txt"},
                          .calibration_windows = 3,
                          .calibration_length = 64};
  options.on_block = [](int64_t) { throw InputError("the disk is full"); };
  EXPECT_REFUSED(quantize(options, *backend_), "the disk is full");
  EXPECT_FALSE(fs::exists(out));
  options.on_block = {};
  EXPECT_REFUSED(quantize(options, *backend_), "resumed.partial");  // without being told to resume
  options.resume = true;
  EXPECT_EQ(quantize(options, *backend_).resumed, 1);
  EXPECT_FALSE(fs::exists(out.string() + ".partial"));
  for (const auto& entry : fs::directory_iterator(whole))
    EXPECT_EQ(read_text(entry.path()), read_text(out / entry.path().filename())) << entry.path();
}

TEST_P(Pipeline, ResumedWithAnotherRecipeIsRefusedAndLeavesWhatIsThere) {
  const fs::path out = folder_.path() / "resumed";
  QuantizeOptions options{.model = model_, .output = out, .recipe = find_recipe("rtn4")};
  options.on_block = [](int64_t) { throw InputError("the disk is full"); };
  EXPECT_REFUSED(quantize(options, *backend_), "the disk is full");
  options.resume = true;
  options.recipe = find_recipe("fp8");
  EXPECT_REFUSED(quantize(options, *backend_), "was made with");
  EXPECT_TRUE(fs::exists(out.string() + ".partial"));
}

INSTANTIATE_TEST_SUITE_P(Families, Pipeline, testing::Values("llama", "mistral", "qwen2", "qwen3"),
                         [](const auto& p) { return p.param; });

class PipelineInput : public testing::Test {
 protected:
  PipelineInput() { test::write_tiny_model(options_.model, test::tiny_config("llama")); }

  void expect_refused(const std::string& sentence) {
    EXPECT_REFUSED(quantize(options_, *backend_), sentence);
    EXPECT_FALSE(fs::exists(out_));
    EXPECT_FALSE(fs::exists(out_.string() + ".partial"));
  }

  const TestFolder folder_;
  const fs::path out_ = folder_.path() / "out";
  QuantizeOptions options_{.model = folder_.path() / "model",
                           .output = out_,
                           .recipe = find_recipe("fireq"),
                           .calibration = {test::source_folder() / "data/enwiki-excerpt.txt"},
                           .calibration_windows = 2,
                           .calibration_length = 64};
  const std::unique_ptr<Backend> backend_ = make_cpu_backend();
};

TEST_F(PipelineInput, WithoutACalibrationTextIsRefusedWhereTheRecipeNeedsOne) {
  options_.calibration.clear();
  expect_refused("the recipe fireq needs a calibration text");
}

TEST_F(PipelineInput, WithTooShortACalibrationTextIsRefused) {
  write_text(folder_.path() / "short.txt", "Only a few words.");
  options_.calibration = {folder_.path() / "short.txt"};
  expect_refused("2 windows of 64 need 128");
}

TEST_F(PipelineInput, WithWindowsLongerThanThePositionsIsRefused) {
  options_.calibration_length = 257;
  expect_refused("a calibration window of 257 tokens is longer than the model's 256 positions");
}

TEST_F(PipelineInput, WhoseWidthNoGroupDividesIsRefused) {
  fs::remove_all(options_.model);
  Json config = test::tiny_config("llama");
  config["hidden_size"] = 100;
  test::write_tiny_model(options_.model, config);
  expect_refused("self_attn.q_proj has 100 inputs, which groups of 128 down to 32 do not divide");
}

TEST_F(PipelineInput, WhoseWidthOtherGroupsDivideIsSaidBeforeTheWorkBegins) {
  fs::remove_all(options_.model);
  Json config = test::tiny_config("llama");
  config["intermediate_size"] = 192;
  test::write_tiny_model(options_.model, config);
  std::vector<std::string> events;
  options_.on_note = [&](const std::string& line) { events.push_back(line); };
  options_.on_block = [&](int64_t) { events.emplace_back("block"); };
  quantize(options_, *backend_);
  EXPECT_EQ(events, (std::vector<std::string>{"groups of 64 instead of 128: down_proj (192 inputs)",
                                              "block", "block"}));
}

// An odd width has no transform to be told of.
TEST_F(PipelineInput, WhoseIntermediateSizeIsOddIsNotTransformedBeforeDownProj) {
  fs::remove_all(options_.model);
  Json config = test::tiny_config("llama");
  config["intermediate_size"] = 255;
  test::write_tiny_model(options_.model, config);
  options_.recipe = find_recipe("smoothquant");
  options_.recipe.rotation.down = 512;
  quantize(options_, *backend_);
  EXPECT_EQ(Checkpoint::open(out_).side_file().down_hadamard, 0);
  EXPECT_LT(largest_difference(logits_of(out_), logits_of(options_.model)), 3);
}

TEST_F(PipelineInput, ThatIsQuantizedAlreadyIsRefused) {
  quantize(options_, *backend_);
  options_.model = out_;
  options_.output = folder_.path() / "again";
  EXPECT_REFUSED(quantize(options_, *backend_), "is quantized already");
}

TEST_F(PipelineInput, WithAnOutputThatExistsIsRefusedAndLeavesIt) {
  fs::create_directory(folder_.path() / "there");
  write_text(folder_.path() / "there/file", "x");
  options_.output = folder_.path() / "there";
  expect_refused("there exists already");
  EXPECT_EQ(read_text(folder_.path() / "there/file"), "x");
}

TEST_F(PipelineInput, WithANanWeightIsRefusedByItsName) {
  const std::string name = linear_name(0, Module::kUp) + ".weight";
  std::vector<std::pair<std::string, Tensor>> tensors;
  {
    const Checkpoint checkpoint = Checkpoint::open(options_.model);
    for (const std::string& each : checkpoint.names()) {
      const Tensor tensor = checkpoint.get(each);
      std::vector<float> values = tensor.to_float();
      if (each == name) values[77] = NAN;
      tensors.emplace_back(each, Tensor::of(tensor.shape(), values));
    }
  }
  fs::remove(options_.model / "model.safetensors");
  write_safetensors(options_.model / "model.safetensors", tensors);
  expect_refused(name);
}

}  // namespace
}  // namespace emberq
