// An output head in codes: what is written, what is read back, and what runs.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "base/json.h"
#include "checkpoint/compressed_tensors/write.h"
#include "format/bf16.h"
#include "model/model.h"
#include "quant/pipeline.h"
#include "quant/rounding/rtn.h"
#include "support/logits.h"
#include "support/refusal.h"
#include "support/tiny_model.h"
#include "support/tiny_quantization.h"

namespace emberq::lm_head_test {
namespace {

constexpr int64_t kVocab = 8192, kHidden = 128;

// What each byte of a stored head stands for: e4m3 by its bits, or two's complement.
std::vector<double> code_values(DType type) {
  std::vector<double> values;
  for (int byte = 0; byte < 256; ++byte) {
    const int exponent = byte >> 3 & 15, mantissa = byte & 7;
    const double magnitude =
        exponent ? std::ldexp(8 + mantissa, exponent - 10) : std::ldexp(mantissa, -9);
    values.push_back(type == DType::kI8                ? double(byte) - (byte > 127 ? 256 : 0)
                     : exponent == 15 && mantissa == 7 ? NAN
                     : byte > 127                      ? -magnitude
                                                       : magnitude);
  }
  return values;
}

// The tensors of a stored head, and their values by the definition.
struct StoredHead {
  Tensor codes, scale;
  std::vector<double> of_code, values;  // values [vocab, hidden]

  explicit StoredHead(const fs::path& folder) {
    const Checkpoint checkpoint = Checkpoint::open(folder);
    codes = checkpoint.get("lm_head.weight"), scale = checkpoint.get("lm_head.weight_scale");
    of_code = code_values(codes.dtype());
    EXPECT_EQ(codes.shape(), (std::vector<int64_t>{kVocab, kHidden}));
    EXPECT_EQ(scale.shape(), (std::vector<int64_t>{kVocab, 1}));
    EXPECT_EQ(scale.dtype(), DType::kBF16);
    const std::vector<double> scales = scale.to_double();
    for (size_t i = 0; i < size_t(kVocab * kHidden); ++i)
      values.push_back(of_code[codes.data<uint8_t>()[i]] * scales[i / size_t(kHidden)]);
  }

  double row_error(const std::vector<double>& head, int64_t row) const {
    double error = 0;
    for (int64_t i = row * kHidden; i < (row + 1) * kHidden; ++i)
      error += std::pow(values[size_t(i)] - head[size_t(i)], 2);
    return error;
  }
};

// Every code is the nearest one by its row's scale, and all rows together are no further from the
// head than with the scales that their largest magnitudes give.
void expect_rounded(const StoredHead& stored, const std::vector<double>& head) {
  double most = 0;
  for (const double value : stored.of_code)
    if (value > most) most = value;
  const std::vector<double> scales = stored.scale.to_double();
  const auto nearest = [&](double w, double scale) {
    double best = INFINITY;
    for (const double value : stored.of_code)
      if (std::abs(value * scale - w) < std::abs(best - w)) best = value * scale;
    return best;
  };
  double error = 0, usual_error = 0;
  for (int64_t row = 0; row < kVocab; row += 61) {
    double largest = 0;
    for (int64_t i = row * kHidden; i < (row + 1) * kHidden; ++i)
      largest = std::max(largest, std::abs(head[size_t(i)]));
    const double usual = double(bf16::from_float(float(largest / most)).to_float());
    for (int64_t i = row * kHidden; i < (row + 1) * kHidden; ++i) {
      const double w = head[size_t(i)];
      EXPECT_NEAR(std::abs(stored.values[size_t(i)] - w),
                  std::abs(nearest(w, scales[size_t(row)]) - w), 1e-12)
          << row << ", " << i % kHidden;
      usual_error += std::pow(nearest(w, usual) - w, 2);
    }
    error += stored.row_error(head, row);
  }
  EXPECT_LE(error, usual_error);
}

struct Case {
  std::string family, scheme;
  bool tied = false;
};

class LmHead : public testing::TestWithParam<Case> {
 protected:
  LmHead() {
    Json config = test::tiny_config(GetParam().family);
    config["tie_word_embeddings"] = GetParam().tied;
    test::write_tiny_model(model_, config);
  }

  fs::path quantized(Recipe recipe) {
    const fs::path out = folder_.path() / recipe.name;
    quantize(test::tiny_quantization(model_, out, std::move(recipe)), *backend_);
    return out;
  }
  Recipe with_head(Recipe recipe) const { return with_lm_head(recipe, GetParam().scheme); }
  std::vector<double> original_head() const {
    const Checkpoint checkpoint = Checkpoint::open(model_);
    return checkpoint.get(std::string(GetParam().tied ? kEmbeddingName : kHeadName)).to_double();
  }

  const TestFolder folder_;
  const fs::path model_ = folder_.path() / "model";
  const std::unique_ptr<Backend> backend_ = make_cpu_backend();
};

TEST_P(LmHead, IsStoredAsTheNearestCodesInAGroupOfItsOwn) {
  const fs::path out = quantized(with_head({.name = "head"}));
  expect_rounded(StoredHead(out), original_head());
  const Checkpoint made = Checkpoint::open(out), model = Checkpoint::open(model_);
  EXPECT_EQ(made.linear_scheme("lm_head"),
            (LinearScheme{.weight = *weight_scheme_from_name(GetParam().scheme)}));
  EXPECT_EQ(made.linear_scheme(linear_name(0, Projection::kQ)), std::nullopt);
  const Tensor embedding = made.get(std::string(kEmbeddingName));
  EXPECT_TRUE(
      std::ranges::equal(embedding.bytes(), model.get(std::string(kEmbeddingName)).bytes()));
  const Json config = read_json(out / "config.json");
  EXPECT_EQ(config["tie_word_embeddings"], false) << "other readers look at nothing else";
  const Json& quantization = config["quantization_config"];
  EXPECT_EQ(quantization["config_groups"].size(), 1u);
  EXPECT_EQ(quantization["config_groups"]["group_0"]["targets"], Json::array({"lm_head"}));
  EXPECT_EQ(quantization["quant_method"], "compressed-tensors");
  EXPECT_EQ(std::ranges::count(quantization["ignore"], Json("lm_head")), 0);
}

// The sums of 128 products in FP32 differ by their order alone.
TEST_P(LmHead, RunsAsTheModelWhoseHeadHasItsValues) {
  const fs::path out = quantized(with_head({.name = "head"})), plain = folder_.path() / "plain";
  fs::create_directory(plain);
  const StoredHead stored(out);
  const std::vector<float> values(stored.values.begin(), stored.values.end());
  {
    const Checkpoint model = Checkpoint::open(model_);
    SafetensorsWriter writer(plain);
    for (const std::string& name : model.names())
      if (name != kHeadName) writer.add(name, model.get(name));
    writer.add(std::string(kHeadName), Tensor::of({kVocab, kHidden}, values));
    writer.finish();
  }
  Json config = read_json(model_ / "config.json");
  config["tie_word_embeddings"] = false;
  write_text(plain / "config.json", config.dump());
  const std::vector<float> got = test::logits_of(out), want = test::logits_of(plain);
  float largest = 0;
  for (const float x : want) largest = std::max(largest, std::abs(x));
  for (size_t i = 0; i < want.size(); ++i) ASSERT_NEAR(got[i], want[i], 2e-5f * largest) << i;
}

TEST_P(LmHead, OfARotatedModelIsThatOfItsBasis) {
  Recipe recipe = find_recipe("emberq6");
  const fs::path plain = quantized(recipe), out = quantized(with_head(recipe));
  expect_rounded(StoredHead(out), Checkpoint::open(plain).get(std::string(kHeadName)).to_double());
  for (const char* name : {"model.embed_tokens.weight", "model.norm.weight"})
    EXPECT_TRUE(std::ranges::equal(Checkpoint::open(out).get(name).bytes(),
                                   Checkpoint::open(plain).get(name).bytes()));
}

TEST_P(LmHead, LeavesTheBlocksAsTheyAreWithoutIt) {
  Recipe recipe = find_recipe("fireq");
  const fs::path plain = quantized(recipe), out = quantized(with_head(recipe));
  for (const char* shard : {"model-00001-of-00003.safetensors", "model-00002-of-00003.safetensors"})
    EXPECT_EQ(read_text(out / shard), read_text(plain / shard));
  EXPECT_EQ(Checkpoint::open(out).linear_scheme(linear_name(1, Projection::kDown)),
            Checkpoint::open(plain).linear_scheme(linear_name(1, Projection::kDown)));
}

TEST_P(LmHead, IsTheSameAfterAnInterruption) {
  const Recipe recipe = with_head(find_recipe("emberq6"));
  const fs::path whole = quantized(recipe), out = folder_.path() / "resumed";
  QuantizeOptions options = test::tiny_quantization(model_, out, recipe);
  options.on_block = [](int64_t) { throw InputError("the disk is full"); };
  EXPECT_REFUSED(quantize(options, *backend_), "the disk is full");
  options.on_block = {};
  options.resume = true;
  EXPECT_EQ(quantize(options, *backend_).resumed, 1);
  for (const auto& entry : fs::directory_iterator(whole))
    EXPECT_EQ(read_text(entry.path()), read_text(out / entry.path().filename())) << entry.path();
}

std::vector<Case> cases() {
  std::vector<Case> all;
  for (const char* family : {"llama", "mistral", "qwen2", "qwen3"})
    for (const bool tied : {false, true}) all.push_back({family, "fp8e4m3-channel", tied});
  for (const bool tied : {false, true}) all.push_back({"llama", "int8-channel", tied});
  return all;
}
INSTANTIATE_TEST_SUITE_P(Families, LmHead, testing::ValuesIn(cases()), [](const auto& p) {
  return p.param.family + (p.param.scheme[0] == 'i' ? "_int8" : "_fp8") +
         (p.param.tied ? "_tied" : "");
});

// A tiny model whose head another maker has put in codes of `scheme`, and whose config.json has
// this quantization_config.
class OthersHead : public testing::Test {
 protected:
  void write(const std::string& scheme, const OrderedJson& quantization, bool tied) {
    const fs::path model = folder_.path() / "model";
    Json config = test::tiny_config("llama");
    test::write_tiny_model(model, config);
    const Checkpoint checkpoint = Checkpoint::open(model);
    const F64Linear head{
        .n = kVocab, .k = kHidden, .weight = checkpoint.get("lm_head.weight").to_double()};
    fs::create_directory(made_);
    SafetensorsWriter writer(made_);
    for (const std::string& name : checkpoint.names())
      if (scheme.empty() || name != kHeadName) writer.add(name, checkpoint.get(name));
    if (!scheme.empty())
      for (const auto& [name, tensor] :
           quantized_tensors("lm_head", round_to_nearest(head, *weight_scheme_from_name(scheme))))
        writer.add(name, tensor);
    writer.finish();
    plain_ = test::logits_of(model);
    config["tie_word_embeddings"] = tied;
    config["quantization_config"] = Json(quantization);
    write_text(made_ / "config.json", config.dump());
  }
  static OrderedJson of_head(const std::string& scheme, ActivationScheme input = {}) {
    return quantization_config({{"lm_head", {*weight_scheme_from_name(scheme), input}}}, {});
  }

  const TestFolder folder_;
  const fs::path made_ = folder_.path() / "made";
  std::vector<float> plain_;
};

TEST_F(OthersHead, OfPackedCodesRunsAlsoWhereTheConfigTiesTheEmbedding) {
  for (const bool tied : {false, true}) {
    fs::remove_all(made_);
    fs::remove_all(folder_.path() / "model");
    write("int8-g128", of_head("int8-g128"), tied);
    EXPECT_TRUE(Checkpoint::open(made_).has_own_head());
    const std::vector<float> got = test::logits_of(made_);
    double error = 0, all = 0;
    for (size_t i = 0; i < got.size(); ++i) {
      const double want = double(plain_[i]);
      error += std::pow(double(got[i]) - want, 2), all += want * want;
    }
    EXPECT_LE(std::sqrt(error / all), 0.02);  // a step of 4 sigma / 127
  }
}

TEST_F(OthersHead, WhoseInputsAreQuantizedIsRefused) {
  write("fp8e4m3-channel", of_head("fp8e4m3-channel", ActivationScheme::kFp8Token), false);
  EXPECT_REFUSED(test::logits_of(made_), "lm_head reads fp8-token activations");
}

TEST_F(OthersHead, WithoutScalesIsPlainThoughAGroupHasAllLinears) {
  OrderedJson quantization = of_head("fp8e4m3-channel");
  quantization["config_groups"]["group_0"]["targets"] = OrderedJson::array({"Linear"});
  quantization["ignore"] = OrderedJson::array({"re:model.*"});
  write("", quantization, false);
  EXPECT_EQ(Checkpoint::open(made_).linear_scheme("lm_head"), std::nullopt);
  EXPECT_EQ(test::logits_of(made_), plain_);
}

}  // namespace
}  // namespace emberq::lm_head_test
