// Outliers at the places that their formula names, by hand, and models that compute the same.
#include "quant/transform/outliers.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "model/model.h"
#include "quant/pipeline.h"
#include "support/logits.h"
#include "support/refusal.h"
#include "support/tiny_model.h"
#include "support/tolerance.h"

namespace emberq::outliers_test {
namespace {

// What an index was multiplied by, where that is not 1.
using Factors = std::map<int64_t, double>;

Factors factors(const std::set<int64_t>& indices, double factor) {
  Factors result;
  for (const int64_t i : indices) result[i] = factor;
  return result;
}

double factor_of(const Factors& factors, int64_t i) {
  const auto found = factors.find(i);
  return found == factors.end() ? 1 : found->second;
}

ModelConfig dimensions(int64_t hidden, int64_t intermediate, int64_t heads, int64_t kv_heads,
                       int64_t head_dim) {
  ModelConfig config;
  config.hidden_size = hidden, config.intermediate_size = intermediate;
  config.num_heads = heads, config.num_kv_heads = kv_heads, config.head_dim = head_dim;
  return config;
}

const ModelConfig kSmallWiki = dimensions(512, 1536, 4, 2, 128);

// Every parameter is 1, so that each becomes the factor that it was multiplied by.
F64Layer block_of_ones(const ModelConfig& config) {
  F64Layer block;
  block.input_layernorm = block.post_attention_layernorm =
      std::vector<double>(size_t(config.hidden_size), 1);
  if (config.qk_norm) block.q_norm = block.k_norm = std::vector<double>(size_t(config.head_dim), 1);
  for (const Projection module : kProjections) {
    const int64_t n = outputs(config, module), k = inputs(config, module);
    block[module] = {.n = n,
                     .k = k,
                     .weight = std::vector<double>(size_t(n * k), 1),
                     .bias = std::vector<double>(size_t(n), 1)};
  }
  return block;
}

F64Layer injected(const ModelConfig& config, int64_t layer, int pattern) {
  F64Layer block = block_of_ones(config);
  inject_outliers(block, config, layer, pattern);
  return block;
}

void expect_vector(const std::vector<double>& values, const Factors& factors) {
  for (size_t i = 0; i < values.size(); ++i)
    EXPECT_NEAR(values[i], factor_of(factors, int64_t(i)), 1e-12) << i;
}

void expect_linear(const F64Linear& linear, const Factors& rows, const Factors& columns) {
  expect_vector(linear.bias, rows);
  for (int64_t i = 0; i < linear.n; ++i)
    for (int64_t j = 0; j < linear.k; ++j)
      ASSERT_NEAR(linear.row(i)[j], factor_of(rows, i) * factor_of(columns, j), 1e-12)
          << i << ", " << j;
}

// The MLP and the norms against the norm's channels and the rows of up.
void expect_mlp(const F64Layer& block, const std::set<int64_t>& channels,
                const std::set<int64_t>& products) {
  expect_vector(block.input_layernorm, {});
  expect_vector(block.post_attention_layernorm, factors(channels, 16));
  expect_linear(block[Projection::kGate], {}, factors(channels, 1.0 / 16));
  expect_linear(block[Projection::kUp], factors(products, 20), factors(channels, 1.0 / 16));
  expect_linear(block[Projection::kDown], {}, factors(products, 1.0 / 20));
}

TEST(Outliers, OfTheFirstLayerAreAtTheBases) {
  const F64Layer block = injected(kSmallWiki, 0, 0);
  // KV head 0: pairs 3, 21, 45; KV head 1, from row 128 on: 16, 34, 58.
  expect_linear(block[Projection::kK],
                factors({3, 67, 21, 85, 45, 109, /**/ 144, 208, 162, 226, 186, 250}, 24), {});
  // The query heads 0 and 1, then 2 and 3.
  expect_linear(block[Projection::kQ],
                factors({3,   67,  21,  85,  45,  109, 131, 195, 149, 213, 173, 237,  //
                         272, 336, 290, 354, 314, 378, 400, 464, 418, 482, 442, 506},
                        1.0 / 24),
                {});
  expect_linear(block[Projection::kV], {}, {});
  expect_linear(block[Projection::kO], {}, {});
  expect_mlp(block, {11, 137, 263, 401}, {5, 301, 607, 907, 1201, 1433});
}

TEST(Outliers, OfALaterLayerAndAnotherPatternAreMovedAndComeRound) {
  const F64Layer block = injected(kSmallWiki, 5, 2);
  // Pairs of KV head 0: 48, 66 - 64, 90 - 64; of KV head 1: 61, 79 - 64, 103 - 64.
  expect_linear(block[Projection::kK],
                factors({48, 112, 2, 66, 26, 90, /**/ 189, 253, 143, 207, 167, 231}, 24), {});
  expect_mlp(block, {230, 356, 482, 620 - 512}, {368, 664, 970, 1270, 1564 - 1536, 1796 - 1536});
}

TEST(Outliers, WhoseIndicesTheModuloMakesEqualAreScaledOnce) {
  const F64Layer block = injected(dimensions(6, 10, 4, 2, 4), 0, 0);
  expect_linear(block[Projection::kK], factors({1, 3, /**/ 4, 6}, 24), {});
  expect_linear(block[Projection::kQ], factors({1, 3, 5, 7, /**/ 8, 10, 12, 14}, 1.0 / 24), {});
  expect_mlp(block, {5}, {5, 1, 7, 3});
}

TEST(Outliers, OfNormalizedKeysGoIntoTheNormsThatAllHeadsShare) {
  ModelConfig config = kSmallWiki;
  config.qk_norm = true;
  const F64Layer block = injected(config, 0, 1);
  expect_vector(block.k_norm, factors({8, 72, 26, 90, 50, 114}, 24));
  expect_vector(block.q_norm, factors({8, 72, 26, 90, 50, 114}, 1.0 / 24));
  expect_linear(block[Projection::kK], {}, {});
  expect_linear(block[Projection::kQ], {}, {});
}

struct Logits {
  std::vector<float> values;
  double magnitude = 0;  // the largest sum of the magnitudes that a logit adds up
};

Logits logits_of(const fs::path& folder) {
  const Checkpoint checkpoint = Checkpoint::open(folder);
  const auto backend = make_cpu_backend();
  Model model = Model::load(checkpoint, *backend);
  KvPool pool = model.make_pool(64);
  KvSequence sequence(pool);
  const Activations hidden = model.forward(test::some_ids(), sequence);
  Logits logits{.values = test::logits_of(model, hidden)};
  const std::vector<float> head = checkpoint.get("lm_head.weight").to_float();
  const auto* x = static_cast<const float*>(hidden.data);
  for (int64_t row = 0; row < hidden.rows; ++row)
    for (size_t i = 0; i < head.size(); i += size_t(hidden.dim)) {
      double sum = 0;
      for (size_t j = 0; j < size_t(hidden.dim); ++j)
        sum += std::abs(double(x[size_t(row * hidden.dim) + j]) * double(head[i + j]));
      logits.magnitude = std::max(logits.magnitude, sum);
    }
  return logits;
}

// Roundings to FP32 one after another, from an embedding to a logit, where a sum of n products has
// n and what has no sum has a few. As if each went to the same side: that they do not leaves room
// for the stages that make what they are given larger.
int longest_path(const ModelConfig& c, int64_t tokens) {
  constexpr int64_t kFew = 4;
  const int64_t norm = c.hidden_size + kFew, from_hidden = c.hidden_size + kFew;
  const int64_t qk = from_hidden + (c.qk_norm ? c.head_dim + kFew : 0) + kFew;  // and RoPE
  const int64_t attention = c.head_dim + 2 * tokens + kFew;  // scores, softmax, values
  const int64_t o = c.num_heads * c.head_dim + kFew, down = c.intermediate_size + kFew;
  const int64_t layer = norm + qk + attention + o + norm + from_hidden + kFew + down;
  return int(c.num_layers * layer + norm + from_hidden);
}

class OutlierModel : public testing::TestWithParam<std::string> {
 protected:
  OutlierModel() { test::write_tiny_model(model_, test::tiny_config(GetParam())); }

  fs::path inject(int pattern) {
    const fs::path out = folder_.path() / std::to_string(pattern);
    write_outlier_model({.model = model_, .output = out, .pattern = pattern});
    return out;
  }

  const TestFolder folder_;
  const fs::path model_ = folder_.path() / "model";
};

TEST_P(OutlierModel, HasTheLogitsThatItHadUpToRounding) {
  const ModelConfig config = Checkpoint::open(model_).config();
  const Logits plain = logits_of(model_);
  const int depth = longest_path(config, int64_t(test::some_ids().size()));
  for (const int pattern : {0, 1, 2}) {
    const Logits outliers = logits_of(inject(pattern));
    const double bound =
        test::float_sum(plain.magnitude, depth) + test::float_sum(outliers.magnitude, depth);
    ASSERT_EQ(outliers.values.size(), plain.values.size());
    for (size_t i = 0; i < plain.values.size(); ++i)
      ASSERT_NEAR(outliers.values[i], plain.values[i], bound) << pattern << ": " << i;
  }
}

TEST_P(OutlierModel, StoresWhatChangedInF32AndTheRestAsItWas) {
  const Checkpoint plain = Checkpoint::open(model_), outliers = Checkpoint::open(inject(1));
  EXPECT_EQ(outliers.names(), plain.names());
  EXPECT_EQ(outliers.config().dtype, DType::kF32);
  const bool qk_norm = plain.config().qk_norm;
  const std::vector<std::string> keys = qk_norm ? std::vector<std::string>{"q_norm", "k_norm"}
                                                : std::vector<std::string>{"q_proj", "k_proj"};
  for (const std::string& name : plain.names()) {
    const auto is_of = [&](const std::string& part) { return name.find(part) != name.npos; };
    const bool weight_changes = is_of("post_attention_layernorm") || is_of("gate_proj.weight") ||
                                is_of("up_proj") || is_of("down_proj.weight") || is_of(keys[0]) ||
                                is_of(keys[1]);
    const Tensor was = plain.get(name), is = outliers.get(name);
    EXPECT_EQ(is.shape(), was.shape());
    if (weight_changes) {
      EXPECT_EQ(is.dtype(), DType::kF32) << name;
      EXPECT_NE(is.to_double(), was.to_double()) << name;
    } else {
      EXPECT_EQ(is.dtype(), was.dtype()) << name;
      EXPECT_TRUE(std::ranges::equal(is.bytes(), was.bytes())) << name;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Families, OutlierModel,
                         testing::Values("llama", "mistral", "qwen2", "qwen3"),
                         [](const auto& p) { return p.param; });

class OutlierInput : public testing::Test {
 protected:
  OutlierInput() { test::write_tiny_model(options_.model, test::tiny_config("llama")); }

  const TestFolder folder_;
  OutlierOptions options_{.model = folder_.path() / "model", .output = folder_.path() / "out"};
};

TEST_F(OutlierInput, ThatIsQuantizedIsRefused) {
  const auto backend = make_cpu_backend();
  const fs::path quantized = folder_.path() / "quantized";
  quantize({.model = options_.model, .output = quantized, .recipe = find_recipe("fireq-w4")},
           *backend);
  options_.model = quantized;
  EXPECT_REFUSED(write_outlier_model(options_), "quantized is quantized already");
  EXPECT_FALSE(fs::exists(options_.output));
}

TEST_F(OutlierInput, WithANegativePatternIsRefused) {
  options_.pattern = -1;
  EXPECT_REFUSED(write_outlier_model(options_),
                 "the pattern of outliers must not be negative, got -1");
}

TEST_F(OutlierInput, WithAnOutputThatExistsIsRefusedAndLeavesIt) {
  fs::create_directory(options_.output);
  write_text(options_.output / "file", "x");
  EXPECT_REFUSED(write_outlier_model(options_), "out exists already");
  EXPECT_EQ(read_text(options_.output / "file"), "x");
}

TEST_F(OutlierInput, ThatIsNotThereIsRefused) {
  options_.model = folder_.path() / "nowhere";
  EXPECT_REFUSED(write_outlier_model(options_), "nowhere/config.json");
  EXPECT_FALSE(fs::exists(options_.output.string() + ".partial"));
}

}  // namespace
}  // namespace emberq::outliers_test
