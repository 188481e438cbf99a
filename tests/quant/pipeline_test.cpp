#include "quant/pipeline.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cmath>

#include "base/file_lock.h"
#include "base/json.h"
#include "checkpoint/checkpoint.h"
#include "model/model.h"
#include "quant/calibration/calibration.h"
#include "quant/transform/outliers.h"
#include "support/logits.h"
#include "support/refusal.h"
#include "support/tiny_model.h"
#include "support/tiny_quantization.h"

namespace emberq::pipeline_test {
namespace {

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
    quantize(test::tiny_quantization(model_, out, std::move(recipe)), *backend_);
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
  EXPECT_LE(largest_difference(test::logits_of(out), test::logits_of(model_)), 2e-5);
}

TEST_P(Pipeline, FireqGivesACheckpointWhoseEveryPartIsRounded) {
  const fs::path out = run(find_recipe("fireq"));
  const Checkpoint checkpoint = Checkpoint::open(out);
  for (const Projection module : kProjections) {
    const auto scheme = checkpoint.linear_scheme(linear_name(1, module));
    ASSERT_TRUE(scheme);
    EXPECT_EQ(scheme->weight, (WeightScheme{4, 128, Dequant::kE4m3}));
    EXPECT_EQ(scheme->activation, ActivationScheme::kFp8Token);
  }
  EXPECT_EQ(checkpoint.attention().kv, KvScheme::kInt4Head);
  EXPECT_EQ(checkpoint.attention().query, QueryScheme::kFp8Head);
  EXPECT_EQ(checkpoint.get("model.embed_tokens.weight").dtype(), DType::kBF16);
  const double moved = largest_difference(test::logits_of(out), test::logits_of(model_));
  EXPECT_GT(moved, 1e-3);
  EXPECT_LT(moved, 3);
  EXPECT_NE(test::logits_of(out), test::logits_of(out, KvScheme::kFp));
}

TEST_P(Pipeline, ProductsOfLut4AreReadBesideWeightsThatHaveNone) {
  const WeightScheme products = *weight_scheme_from_name("lut4-g128-e4m3");
  Recipe recipe = with_four_bit_weights(find_recipe("emberq4"), products);
  recipe.weights[size_t(Projection::kDown)] =
      weight_scheme_from_name("fp6e2m3-g128");  // a block's last
  const fs::path out = run(recipe);
  const Checkpoint checkpoint = Checkpoint::open(out);
  for (const Projection module : kProjections)
    EXPECT_EQ(checkpoint.linear_scheme(linear_name(1, module))->weight,
              *recipe.weights[size_t(module)])
        << short_name(module);
  EXPECT_FALSE(checkpoint.emberq_config().global_scale.empty());
  EXPECT_LT(largest_difference(test::logits_of(out), test::logits_of(model_)), 3);
}

TEST_P(Pipeline, SavedAndLoadedAgainHasTheSameLogitsBitForBit) {
  const fs::path out = run(find_recipe("fireq"));
  const std::vector<float> logits = test::logits_of(out);
  const fs::path again = folder_.path() / "again";
  fs::create_directory(again);
  {
    const Checkpoint checkpoint = Checkpoint::open(out);
    SafetensorsWriter writer(again, {.max_shard_bytes = 300'000});
    for (const std::string& name : checkpoint.names()) writer.add(name, checkpoint.get(name));
    writer.finish();
    for (const char* file : {"config.json", "emberq.json"}) fs::copy_file(out / file, again / file);
  }
  EXPECT_EQ(test::logits_of(again), logits);
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
    EXPECT_LE(largest_difference(test::logits_of(out), test::logits_of(model_)), bound) << name;
  }
}

TEST_P(Pipeline, ResumedWritesTheBytesOfARunThatWasNotInterrupted) {
  const Recipe recipe = find_recipe("emberq6");
  const fs::path whole = run(recipe), out = folder_.path() / "resumed";
  QuantizeOptions options = test::tiny_quantization(model_, out, recipe);
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

  // The model anew, with this in its config.json.
  void remake_model(const char* key, int value) {
    fs::remove_all(options_.model);
    Json config = test::tiny_config("llama");
    config[key] = value;
    test::write_tiny_model(options_.model, config);
  }

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

// A run that ended after its first block, to be resumed by what the test has changed since.
class ResumedRun : public PipelineInput {
 protected:
  ResumedRun() {
    write_text(text_, read_text(test::source_folder() / "data/enwiki-excerpt.txt"));
    options_.calibration = {text_};
    options_.on_block = [](int64_t) { throw InputError("the disk is full"); };
    EXPECT_REFUSED(quantize(options_, *backend_), "the disk is full");
    options_.on_block = {};
    options_.resume = true;
  }

  void expect_other(const std::string& sentence) {
    EXPECT_REFUSED(quantize(options_, *backend_), "out.partial was made with ", sentence);
    EXPECT_FALSE(fs::exists(out_));
    EXPECT_TRUE(fs::exists(out_.string() + ".partial/quantize.json"));
  }

  // Writes a file anew with one byte changed, and with the time of writing that it had.
  void change_byte(const fs::path& path, size_t at) {
    std::string bytes = read_text(path);
    bytes[at] = char(bytes[at] ^ 1);
    const auto time = fs::last_write_time(path);
    write_text(path, bytes);
    fs::last_write_time(path, time);
  }

  const fs::path text_ = folder_.path() / "text.txt";
  const fs::path weights_ = options_.model / "model.safetensors";
};

TEST_F(ResumedRun, OfTheSameContentsInAnotherPlaceGoesOn) {
  fs::rename(text_, folder_.path() / "renamed.txt");
  options_.calibration = {folder_.path() / "renamed.txt"};
  fs::rename(options_.model, folder_.path() / "moved");
  options_.model = folder_.path() / "moved";
  EXPECT_EQ(quantize(options_, *backend_).resumed, 1);
}

TEST_F(ResumedRun, WithATextThatHasChangedInItsPlaceIsRefused) {
  change_byte(text_, read_text(text_).size() - 2);
  expect_other("another calibration text than " + text_.string() + " holds now");
}

TEST_F(ResumedRun, WithOneTextMoreIsRefused) {
  options_.calibration.push_back(text_);
  expect_other("1 calibration texts, not with 2");
}

TEST_F(ResumedRun, WithOtherWindowsIsRefused) {
  options_.calibration_windows = 3;
  expect_other("2 windows of 64 tokens, not with 3 windows of 64 tokens");
}

TEST_F(ResumedRun, WithWeightsThatHaveChangedInTheirPlaceIsRefusedAtTheSameSizeAndTime) {
  change_byte(weights_, read_text(weights_).size() - 1);
  expect_other("other weights of the model");
}

TEST_F(ResumedRun, WithWeightsThatWereWrittenAgainIsRefused) {
  fs::last_write_time(weights_, fs::last_write_time(weights_) + std::chrono::nanoseconds(1000));
  expect_other("another model.safetensors of the model, of another size or time of writing");
}

TEST_F(ResumedRun, WithAConfigThatHasChangedIsRefused) {
  const fs::path config = options_.model / "config.json";
  Json json = read_json(config);
  json["rope_theta"] = 20000.0;
  write_text(config, json.dump());
  expect_other("another config.json of the model");
}

TEST_F(ResumedRun, WithOtherSettingsOfTheRecipeIsRefused) {
  options_.recipe = with_integer_weights(options_.recipe, 4);
  expect_other("fireq");
}

TEST_F(ResumedRun, OfAFolderWithoutNotesIsRefusedAndLeavesIt) {
  fs::remove(out_.string() + ".partial/quantize.json");
  EXPECT_REFUSED(quantize(options_, *backend_), "out.partial holds ", "but no quantize.json");
  EXPECT_TRUE(fs::exists(out_.string() + ".partial/model-00001-of-00003.safetensors"));
}

TEST_F(ResumedRun, WithABlockThatIsGoneIsRefused) {
  fs::remove(out_.string() + ".partial/model-00001-of-00003.safetensors");
  EXPECT_REFUSED(quantize(options_, *backend_), "finished block 0, but there is no ");
}

// As a kill leaves it: after a shard has its name and before the notes name it, and after the notes
// were put aside and before the folder has its name.
TEST_F(ResumedRun, GoesOnFromEveryPlaceWhereARunCanEnd) {
  const fs::path partial = out_.string() + ".partial", whole = folder_.path() / "whole";
  options_.output = whole;
  options_.resume = false;
  quantize(options_, *backend_);
  options_.output = out_;
  options_.resume = true;
  fs::copy(whole / "model-00003-of-00003.safetensors",
           partial / "model-00002-of-00003.safetensors");
  write_text(partial / "model-00002-of-00003.safetensors.partial", "half");
  write_text(partial / "model-00003-of-00003.safetensors.partial", "half");
  fs::rename(partial / "quantize.json", partial.string() + ".json");
  EXPECT_EQ(quantize(options_, *backend_).resumed, 1);
  EXPECT_FALSE(fs::exists(partial.string() + ".json"));
  for (const fs::path& path : entries_of(whole))
    EXPECT_EQ(read_text(out_ / path.filename()), read_text(path)) << path;
  EXPECT_EQ(entries_of(out_).size(), entries_of(whole).size());
}

TEST_F(PipelineInput, ThatAnotherRunIsQuantizingIsRefusedWithAndWithoutResume) {
  options_.on_block = [&](int64_t) {
    for (const bool resume : {false, true}) {
      QuantizeOptions second = options_;
      second.on_block = {};
      second.resume = resume;
      EXPECT_THROW(quantize(second, *backend_), LockedError);
    }
  };
  quantize(options_, *backend_);
  EXPECT_EQ(Checkpoint::open(out_).has("lm_head.weight"), true);
}

TEST_F(PipelineInput, WithManyTensorsThatAreNoneOfItsModelKeepsThem) {
  std::vector<std::pair<std::string, Tensor>> tensors;
  {
    const Checkpoint checkpoint = Checkpoint::open(options_.model);
    for (const std::string& name : checkpoint.names())
      tensors.emplace_back(name, checkpoint.get(name));
  }
  const std::vector<float> one = {1};
  for (int i = 0; i < 2000; ++i)
    tensors.emplace_back(fmt::format("model.extra.{}.{}", i, std::string(200, 'x')),
                         Tensor::of({1}, one));
  fs::remove(options_.model / "model.safetensors");
  write_safetensors(options_.model / "model.safetensors", tensors);
  quantize(options_, *backend_);
  const Checkpoint made = Checkpoint::open(out_);
  for (const auto& [name, tensor] : tensors)
    EXPECT_TRUE(!name.starts_with("model.extra") || made.has(name)) << name;
}

TEST_F(PipelineInput, WithWindowsOfNoTokensIsRefused) {
  options_.calibration_length = 0;
  expect_refused("a calibration window takes at least one token, not 0");
}

TEST_F(PipelineInput, WithATextThatIsNotUtf8NamesIt) {
  write_text(folder_.path() / "latin1.txt", std::string(500, '\xe9'));
  options_.calibration.push_back(folder_.path() / "latin1.txt");
  expect_refused("latin1.txt is not UTF-8 at byte 0");
}

TEST_F(PipelineInput, CheckQuantizableRefusesWhatQuantizeWouldAndWritesNothing) {
  check_quantizable(options_);
  EXPECT_FALSE(fs::exists(out_.string() + ".partial"));
  options_.calibration_length = 257;
  EXPECT_REFUSED(check_quantizable(options_), "longer than the model's 256 positions");
  options_.calibration_length = 64;
  options_.output = options_.model;
  EXPECT_REFUSED(check_quantizable(options_), "exists already");
}

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

// The bundled tokenizer has 8192 tokens.
TEST_F(PipelineInput, WithATextThatHasAnIdOutsideTheEmbeddingIsRefusedByTheTextsName) {
  remake_model("vocab_size", 300);
  for (const char* recipe : {"fireq", "emberq4", "emberq6", "smoothquant", "qserve"}) {
    options_.recipe = find_recipe(recipe);
    expect_refused("of " + options_.calibration[0].string() + " has the id ");
    expect_refused("outside the model's vocabulary (vocab_size 300)");
  }
}

TEST(CalibrationStream, RefusesAnIdThatTheEmbeddingHasNoRowFor) {
  const TestFolder folder;
  test::write_tiny_model(folder.path() / "model", test::tiny_config("qwen3"));
  const Checkpoint checkpoint = Checkpoint::open(folder.path() / "model");
  const auto backend = make_cpu_backend();
  const Weight table = backend->prepare(checkpoint.get(std::string(kEmbeddingName)));
  for (const int bad : {-1, 8192}) {
    const CalibrationWindows windows{.length = 3, .ids = {{1, 2, 3}, {4, bad, 5}}};
    EXPECT_REFUSED(CalibrationStream(*backend, checkpoint.config(), windows, table, KvScheme::kFp),
                   "position 1 of the model's input has the id " + std::to_string(bad),
                   "vocab_size 8192");
  }
}

// config.json ties the head to the embedding, but what is stored says something else.
class TiedModel : public PipelineInput {
 protected:
  enum class Stored { kBoth, kHeadAlone };

  // The model's own head stands beside its embedding, or alone.
  void store(Stored stored) {
    std::vector<std::pair<std::string, Tensor>> tensors;
    {
      const Checkpoint checkpoint = Checkpoint::open(options_.model);
      for (const std::string& name : checkpoint.names())
        if (stored == Stored::kBoth || name != kEmbeddingName)
          tensors.emplace_back(name, checkpoint.get(name));
      Json config = read_json(options_.model / "config.json");
      config["tie_word_embeddings"] = true;
      write_text(options_.model / "config.json", config.dump());
      fs::remove(options_.model / "model.safetensors");
      write_safetensors(options_.model / "model.safetensors", tensors);
    }
  }
  fs::path quantized(const Recipe& recipe) {
    options_.recipe = recipe;
    options_.output = folder_.path() / ("out-" + recipe.name);
    quantize(options_, *backend_);
    return options_.output;
  }
  static bool tied(const fs::path& folder) {
    return read_json(folder / "config.json")["tie_word_embeddings"].get<bool>();
  }
  // Rotations and scales, without anything rounded.
  static Recipe rotations_alone() {
    Recipe recipe = find_recipe("emberq6");
    recipe.name = "rotations";
    recipe.weights = {};
    recipe.activations = {};
    recipe.kv = KvScheme::kFp;
    recipe.query = QueryScheme::kNone;
    recipe.probability = ProbabilityScheme::kNone;
    return recipe;
  }
};

TEST_F(TiedModel, ThatStoresAnotherHeadRunsIt) {
  const std::vector<float> own = test::logits_of(options_.model);
  store(Stored::kBoth);
  testing::internal::CaptureStderr();
  EXPECT_EQ(test::logits_of(options_.model), own);
  const std::string said = testing::internal::GetCapturedStderr();
  EXPECT_TRUE(contains(said,
                       "tie_word_embeddings is true, but model.embed_tokens.weight and "
                       "lm_head.weight differ"));
  EXPECT_EQ(std::ranges::count(said, '\n'), 1);
}

TEST_F(TiedModel, ThatStoresAnotherHeadKeepsItWhenItIsQuantized) {
  store(Stored::kBoth);
  const std::vector<float> before = test::logits_of(options_.model);
  const fs::path plain = quantized({.name = "nothing"});
  EXPECT_FALSE(tied(plain)) << "for readers that do not look at what is stored";
  EXPECT_EQ(test::logits_of(plain), before);
  const fs::path rotated = quantized(rotations_alone());
  EXPECT_FALSE(tied(rotated));
  EXPECT_LE(largest_difference(test::logits_of(rotated), before), 0.05);
}

TEST_F(TiedModel, ThatStoresItsHeadAloneHasItAsEmbeddingToo) {
  store(Stored::kHeadAlone);
  const Checkpoint checkpoint = Checkpoint::open(options_.model);
  EXPECT_TRUE(checkpoint.has(std::string(kEmbeddingName)));
  EXPECT_FALSE(checkpoint.has_own_head());
  const std::vector<float> before = test::logits_of(options_.model);
  const fs::path plain = quantized({.name = "nothing"});
  EXPECT_TRUE(tied(plain));
  EXPECT_TRUE(
      SafetensorsFile(plain / "model-00003-of-00003.safetensors").has(std::string(kEmbeddingName)));
  EXPECT_EQ(test::logits_of(plain), before);
  const fs::path rotated = quantized(rotations_alone());
  EXPECT_FALSE(tied(rotated)) << "the head has the last norm in it";
  EXPECT_LE(largest_difference(test::logits_of(rotated), before), 0.05);
}

TEST_F(TiedModel, ThatStoresAnotherHeadKeepsItBesideInjectedOutliers) {
  store(Stored::kBoth);
  const std::vector<float> before = test::logits_of(options_.model);
  write_outlier_model({.model = options_.model, .output = out_});
  EXPECT_FALSE(tied(out_));
  EXPECT_LE(largest_difference(test::logits_of(out_), before), 1e-3);
}

TEST_F(PipelineInput, WithATensorThatNobodyReadsKeepsItsBytesWhateverItsType) {
  const Checkpoint checkpoint = Checkpoint::open(options_.model);
  fs::create_directory(folder_.path() / "odd");
  const fs::path odd = folder_.path() / "odd/odd.safetensors";
  const std::string header = R"({"rotary.table":{"dtype":"F4","shape":[4],"data_offsets":[0,2]}})";
  std::string bytes(8, '\0');
  bytes[0] = char(header.size());
  write_text(odd, bytes + header + "ab");
  SafetensorsWriter writer(folder_.path() / "odd");
  for (const std::string& name : checkpoint.names()) writer.add(name, checkpoint.stored(name));
  writer.add("rotary.table", SafetensorsFile(odd).stored("rotary.table"));
  writer.finish();
  fs::rename(folder_.path() / "odd/model.safetensors", options_.model / "model.safetensors");
  quantize(options_, *backend_);
  const Checkpoint made = Checkpoint::open(out_);
  const StoredTensor kept = made.stored("rotary.table");
  EXPECT_EQ(kept.type, "F4");
  EXPECT_EQ(char(kept.bytes[1]), 'b');
}

TEST_F(PipelineInput, WhoseWidthNoGroupDividesIsRefused) {
  remake_model("hidden_size", 100);
  expect_refused("self_attn.q_proj has 100 inputs, which groups of 128 down to 32 do not divide");
}

TEST_F(PipelineInput, WhoseWidthOtherGroupsDivideIsSaidBeforeTheWorkBegins) {
  remake_model("intermediate_size", 192);
  std::vector<std::string> events;
  options_.on_note = [&](const std::string& line) { events.push_back(line); };
  options_.on_block = [&](int64_t) { events.emplace_back("block"); };
  quantize(options_, *backend_);
  EXPECT_EQ(events, (std::vector<std::string>{"groups of 64 instead of 128: down_proj (192 inputs)",
                                              "block", "block"}));
}

// An odd width has no transform to be told of.
TEST_F(PipelineInput, WhoseIntermediateSizeIsOddIsNotTransformedBeforeDownProj) {
  remake_model("intermediate_size", 255);
  options_.recipe = find_recipe("smoothquant");
  options_.recipe.rotation.down = 512;
  quantize(options_, *backend_);
  EXPECT_EQ(Checkpoint::open(out_).emberq_config().down_hadamard, 0);
  EXPECT_LT(largest_difference(test::logits_of(out_), test::logits_of(options_.model)), 3);
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
  const std::string name = linear_name(0, Projection::kUp) + ".weight";
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
}  // namespace emberq::pipeline_test
