// Every weight scheme through the writer and Checkpoint, bit for bit.
#include <cmath>
#include <random>

#include "base/json.h"
#include "checkpoint/checkpoint.h"
#include "checkpoint/compressed_tensors/write.h"
#include "checkpoint/shard_writer.h"
#include "checkpoint/support.h"
#include "format/bf16.h"
#include "support/quantized_weight.h"

namespace emberq::weight_schemes_test {
namespace {

const std::string kQ = "model.layers.0.self_attn.q_proj";
const std::string kK = "model.layers.0.self_attn.k_proj";
const std::string kDown = "model.layers.0.mlp.down_proj";

WeightScheme scheme_of(const std::string& name) { return *weight_scheme_from_name(name); }

// A weight with codes in no order, all of them numbers, and scales from zero up.
QuantizedWeight random_weight(int64_t n, int64_t k, const WeightScheme& scheme) {
  std::mt19937_64 random{uint64_t(n * k)};
  return test::assemble(
      n, k, scheme,
      {.code =
           [&](int64_t, int64_t) {
             const int u = int(random() % (1u << scheme.bits));
             const bool nan = scheme.code == WeightCode::kFloat && scheme.bits == 8;
             return nan && (u & 0x7f) == 0x7f ? 0x80 : u;
           },
       .scale = [&](int64_t, int64_t) { return float(random() % 1000) / 3; },
       .zero_point = [&](int64_t, int64_t) { return int8_t(int(random() % 16) - 8); }});
}

void write_config(const TestFolder& folder, const Json& quantization, int head_dim = 64) {
  const Json config = {{"architectures", {"LlamaForCausalLM"}},
                       {"model_type", "llama"},
                       {"vocab_size", 8},
                       {"hidden_size", 128},
                       {"intermediate_size", 384},
                       {"num_hidden_layers", 1},
                       {"num_attention_heads", 2},
                       {"head_dim", head_dim},
                       {"quantization_config", quantization}};
  folder.write("config.json", config.dump());
}

void write_model(const TestFolder& folder,
                 const std::vector<std::pair<std::string, QuantizedWeight>>& weights) {
  std::vector<std::pair<std::string, LinearScheme>> linears;
  SafetensorsWriter writer(folder.path());
  for (const auto& [module, weight] : weights) {
    linears.emplace_back(module, LinearScheme{.weight = weight.scheme});
    for (const auto& [name, tensor] : quantized_tensors(module, weight)) writer.add(name, tensor);
  }
  writer.finish();
  write_config(folder, Json(quantization_config(linears, {})));
}

void expect_same(const Tensor& a, const Tensor& b) {
  ASSERT_EQ(bool(a), bool(b));
  if (!a) return;
  EXPECT_EQ(a.dtype(), b.dtype());
  EXPECT_EQ(a.shape(), b.shape());
  EXPECT_TRUE(std::ranges::equal(a.bytes(), b.bytes()));
}

void expect_read(const TestFolder& folder, const std::string& module,
                 const QuantizedWeight& weight) {
  const Checkpoint checkpoint = Checkpoint::open(folder.path());
  EXPECT_EQ(checkpoint.linear_scheme(module)->weight, weight.scheme);
  const auto linear = checkpoint.linear(module, weight.n, weight.k);
  ASSERT_TRUE(linear.has_value());
  EXPECT_EQ(linear->input, checkpoint.linear_scheme(module)->activation);
  const QuantizedWeight* read = &linear->weight;
  WeightScheme resolved = weight.scheme;
  if (resolved.group_size == 0) resolved.group_size = int(weight.k);
  EXPECT_EQ(read->scheme, resolved);
  expect_same(read->packed, weight.packed);
  expect_same(read->scale, weight.scale);
  expect_same(read->zero_point, weight.zero_point);
}

class EveryWeightScheme : public testing::TestWithParam<const char*> {};

TEST_P(EveryWeightScheme, IsReadAsItWasWritten) {
  for (const int64_t n : {1, 7, 16, 19}) {
    const TestFolder folder;
    const QuantizedWeight weight = random_weight(n, 384, scheme_of(GetParam()));
    write_model(folder, {{kQ, weight}});
    expect_read(folder, kQ, weight);
  }
}

TEST_P(EveryWeightScheme, KeepsRowsThatFillNoWord) {
  WeightScheme scheme = scheme_of(GetParam());
  if (scheme.group_size) scheme.group_size = 33;
  const TestFolder folder;
  const QuantizedWeight weight = random_weight(5, 99, scheme);
  write_model(folder, {{kQ, weight}});
  expect_read(folder, kQ, weight);
}

INSTANTIATE_TEST_SUITE_P(Schemes, EveryWeightScheme,
                         testing::Values("int2-g64", "int3-g128", "int4-g32", "int4-g128",
                                         "int4-channel", "int4-g128-asym", "int5-channel",
                                         "int6-g128", "int7-g64", "int8-g128", "int8-channel",
                                         "lut4-g64", "lut4-channel", "fp6e2m3-g128",
                                         "fp6e2m3-channel", "fp8e4m3-channel", "fp8e4m3-g128"),
                         [](const auto& scheme) {
                           std::string name = scheme.param;
                           std::ranges::replace(name, '-', '_');
                           return name;
                         });

TEST(WeightSchemes, MixedInOneModelAreEachReadAsTheyWereWritten) {
  const std::vector<const char*> names = {"int4-g128",      "fp8e4m3-channel", "int8-channel",
                                          "int4-g128-asym", "lut4-g128",       "fp6e2m3-g128"};
  for (const size_t count : {size_t(4), names.size()}) {  // the last two are emberq's own
    const TestFolder folder;
    std::vector<std::pair<std::string, QuantizedWeight>> weights;
    for (size_t i = 0; i < count; ++i)
      weights.emplace_back(names[i], random_weight(3 + int64_t(i), 256, scheme_of(names[i])));
    write_model(folder, weights);
    for (const auto& [module, weight] : weights) expect_read(folder, module, weight);
  }
}

// What the layouts that other readers know look like, by their own definitions.

TEST(WeightSchemes, Int8ByRowsIsStoredAsItsIntegers) {
  const TestFolder folder;
  const QuantizedWeight weight = random_weight(3, 99, scheme_of("int8-channel"));
  write_model(folder, {{kQ, weight}});
  const Tensor stored = SafetensorsFile(folder.path() / "model.safetensors").get(kQ + ".weight");
  EXPECT_EQ(stored.dtype(), DType::kI8);
  ASSERT_EQ(stored.shape(), (std::vector<int64_t>{3, 99}));
  for (int64_t n = 0; n < 3; ++n)
    for (int64_t k = 0; k < 99; ++k)
      EXPECT_EQ(stored.data<int8_t>()[n * 99 + k],
                packed_code(weight.packed.data<uint32_t>() + n * 25, size_t(k), 8));
}

TEST(WeightSchemes, Fp8IsStoredAsItsNumbers) {
  const TestFolder folder;
  const QuantizedWeight weight = random_weight(3, 99, scheme_of("fp8e4m3-channel"));
  write_model(folder, {{kQ, weight}});
  const SafetensorsFile file(folder.path() / "model.safetensors");
  const Tensor stored = file.get(kQ + ".weight");
  EXPECT_EQ(stored.dtype(), DType::kF8E4M3);
  ASSERT_EQ(stored.shape(), (std::vector<int64_t>{3, 99}));
  for (int64_t n = 0; n < 3; ++n)
    for (int64_t k = 0; k < 99; ++k)
      EXPECT_EQ(stored.data<uint8_t>()[n * 99 + k],
                128 + packed_code(weight.packed.data<uint32_t>() + n * 25, size_t(k), 8));
  EXPECT_EQ(file.get(kQ + ".weight_scale").shape(), (std::vector<int64_t>{3, 1}));
  EXPECT_FALSE(file.has(kQ + ".weight_shape"));
}

TEST(WeightSchemes, ZeroPointsArePackedDownTheColumns) {
  const TestFolder folder;
  const QuantizedWeight weight = random_weight(11, 256, scheme_of("int4-g128-asym"));
  write_model(folder, {{kQ, weight}});
  const Tensor stored =
      SafetensorsFile(folder.path() / "model.safetensors").get(kQ + ".weight_zero_point");
  EXPECT_EQ(stored.dtype(), DType::kI32);
  ASSERT_EQ(stored.shape(), (std::vector<int64_t>{2, 2}));
  for (int64_t n = 0; n < 16; ++n)
    for (int64_t g = 0; g < 2; ++g)
      EXPECT_EQ(stored.data<uint32_t>()[n / 8 * 2 + g] >> (n % 8 * 4) & 15,
                n < 11 ? uint32_t(weight.zero_point.data<int8_t>()[n * 2 + g] + 8) : 0u);
}

// Refusals. A folder with one linear of 3 x 128, of which each test breaks one thing.
struct OneLinear {
  TestFolder folder;
  OrderedJson quantization;
  std::vector<std::pair<std::string, Tensor>> tensors;

  explicit OneLinear(const std::string& name) {
    const QuantizedWeight weight = random_weight(3, 128, scheme_of(name));
    quantization = quantization_config({{kQ, {.weight = weight.scheme}}}, {});
    SafetensorsWriter writer(folder.path());
    for (const auto& [part, tensor] : quantized_tensors(kQ, weight)) writer.add(part, tensor);
    writer.finish();
    const SafetensorsFile file(folder.path() / "model.safetensors");
    for (const std::string& tensor : file.names()) tensors.emplace_back(tensor, file.get(tensor));
  }
  void replace(const std::string& suffix, const Tensor& tensor) {
    std::erase_if(tensors, [&](const auto& t) { return t.first == kQ + suffix; });
    if (tensor) tensors.emplace_back(kQ + suffix, tensor);
  }
  std::optional<QuantizedLinear> read() const {
    write_config(folder, Json(quantization));
    fs::remove(folder.path() / "model.safetensors");
    write_safetensors(folder.path() / "model.safetensors", tensors);
    return Checkpoint::open(folder.path()).linear(kQ, 3, 128);
  }
};

Tensor bytes_of(DType dtype, const std::vector<int64_t>& shape, std::vector<uint8_t> values) {
  return Tensor::copy_of(dtype, shape, std::span<const uint8_t>(values));
}

TEST(WeightSchemes, RefuseNaNInFp8Weights) {
  for (const uint8_t nan : {uint8_t(0x7f), uint8_t(0xff)}) {
    OneLinear linear("fp8e4m3-channel");
    std::vector<uint8_t> codes(3 * 128, 0x7e);
    codes[2 * 128 + 127] = nan;
    linear.replace(".weight", bytes_of(DType::kF8E4M3, {3, 128}, codes));
    EXPECT_REFUSED(linear.read(), linear.folder.path(), "q_proj.weight is NaN at [2, 127]");
  }
}

TEST(WeightSchemes, RefuseCodesOfAnotherTypeOrShape) {
  OneLinear fp8("fp8e4m3-channel");
  fp8.replace(".weight", bytes_of(DType::kI8, {3, 128}, std::vector<uint8_t>(3 * 128)));
  EXPECT_REFUSED(fp8.read(), "q_proj.weight must be F8_E4M3 [3, 128], got I8 [3, 128]");
  OneLinear int8("int8-channel");
  int8.replace(".weight", bytes_of(DType::kI8, {3, 64}, std::vector<uint8_t>(3 * 64)));
  EXPECT_REFUSED(int8.read(), "q_proj.weight must be I8 [3, 128], got I8 [3, 64]");
}

TEST(WeightSchemes, RefuseScalesByGroupsWhereTheConfigurationSaysRows) {
  for (const char* name : {"fp8e4m3-channel", "int8-channel", "int4-channel"}) {
    OneLinear linear(name);
    linear.replace(".weight_scale", Tensor::of({3, 2}, std::vector<float>(6, 1.0f)));
    EXPECT_REFUSED(linear.read(), "q_proj.weight_scale must be", "[3, 1], got F32 [3, 2]");
  }
}

TEST(WeightSchemes, RefuseScalesThatAreNegativeOrNotFinite) {
  for (const char* name : {"fp8e4m3-channel", "int8-channel", "lut4-g64", "int4-g128-asym"})
    for (const float bad : {-1.0f, INFINITY, NAN}) {
      OneLinear linear(name);
      const int64_t groups = linear.read()->weight.scale.shape()[1];
      std::vector<float> scale(size_t(3 * groups), 1.0f);
      scale[size_t(groups)] = bad;
      linear.replace(".weight_scale", Tensor::of({3, groups}, scale));
      EXPECT_REFUSED(linear.read(), "q_proj.weight_scale must hold finite numbers", "[1, 0]");
    }
}

TEST(WeightSchemes, NeedZeroPointsWhereTheConfigurationSpeaksOfThem) {
  OneLinear linear("int4-g128-asym");
  linear.replace(".weight_zero_point", {});
  EXPECT_REFUSED(linear.read(), "has no tensor", "q_proj.weight_zero_point");
}

TEST(WeightSchemes, RefuseZeroPointsWhereTheConfigurationSpeaksOfNone) {
  for (const char* name : {"fp8e4m3-channel", "int8-channel", "lut4-g64", "int6-g128"}) {
    OneLinear linear(name);
    linear.replace(".weight_zero_point", bytes_of(DType::kI8, {3, 1}, {0, 0, 0}));
    EXPECT_REFUSED(linear.read(), "q_proj.weight_zero_point contradicts config.json");
  }
}

TEST(WeightSchemes, RefuseZeroPointsOfAnotherShape) {
  OneLinear linear("int4-g128-asym");
  linear.replace(".weight_zero_point", bytes_of(DType::kI8, {3, 1}, {0, 0, 0}));
  EXPECT_REFUSED(linear.read(), "q_proj.weight_zero_point must be I32 [1, 1], got I8 [3, 1]");
}

TEST(WeightSchemes, RefuseInputsInGroupsThatDoNotDivideThem) {
  const QuantizedWeight weight = random_weight(3, 96, scheme_of("int8-channel"));
  const auto read = [&](int group_size) {
    const TestFolder folder;
    SafetensorsWriter writer(folder.path());
    for (const auto& [name, tensor] : quantized_tensors(kQ, weight)) writer.add(name, tensor);
    writer.finish();
    const LinearScheme scheme = {weight.scheme, {ActivationCode::kInt8, group_size}};
    write_config(folder, Json(quantization_config({{kQ, scheme}}, {})));
    Checkpoint::open(folder.path()).linear(kQ, 3, 96);
  };
  EXPECT_EQ(refusal([&] { read(32); }), "");
  EXPECT_REFUSED(read(64), "q_proj has 96 inputs, which is not a multiple of their group size 64");
}

TEST(WeightSchemes, ReadZeroPointsBesideCodesInBytes) {
  OneLinear linear("int4-g128-asym");
  linear.quantization["config_groups"]["group_0"]["format"] = "int-quantized";
  linear.replace(".weight_packed", {});
  linear.replace(".weight", bytes_of(DType::kI8, {3, 128}, std::vector<uint8_t>(3 * 128, 0xf8)));
  linear.replace(".weight_zero_point", bytes_of(DType::kI8, {3, 1}, {7, 0xf8, 0}));
  const auto read = linear.read();
  EXPECT_EQ(packed_code(read->weight.packed.data<uint32_t>(), 0, 4), -8);
  expect_same(read->weight.zero_point, bytes_of(DType::kI8, {3, 1}, {7, 0xf8, 0}));
  linear.replace(".weight_zero_point", bytes_of(DType::kI8, {3, 1}, {7, 0xf7, 0}));
  EXPECT_REFUSED(linear.read(), "q_proj.weight_zero_point holds -9 at [1, 0], which 4 bits do not");
}

// The emberq.json beside a model of one linear in `name`.
Checkpoint open_with(const OneLinear& linear, Json emberq_config) {
  emberq_config["format_version"] = 1;
  linear.folder.write("emberq.json", emberq_config.dump());
  write_config(linear.folder, Json(linear.quantization));
  return Checkpoint::open(linear.folder.path());
}

TEST(WeightSchemes, TakeTheDequantDtypeOfEmberqJsonForInt4AndLut4InGroupsAlone) {
  const TestFolder folder;
  QuantizedWeight int4 = random_weight(3, 128, scheme_of("int4-g128"));
  int4.scale = Tensor::of({3, 1}, std::vector<float>{1, 2, 3});
  write_model(folder, {{kQ, int4}, {kDown, random_weight(3, 128, scheme_of("fp8e4m3-channel"))}});
  folder.write("emberq.json", R"({"format_version":1,"dequant_dtype":"e4m3"})");
  const Checkpoint checkpoint = Checkpoint::open(folder.path());
  EXPECT_EQ(checkpoint.linear(kQ, 3, 128)->weight.scheme.dequant, Dequant::kE4m3);
  EXPECT_EQ(checkpoint.linear(kDown, 3, 128)->weight.scheme.dequant, Dequant::kExact);
}

TEST(WeightSchemes, OfLut4HaveProductsOfAnyScalesAndTheirP) {
  for (const char* name : {"lut4-g32", "lut4-g64", "lut4-g128"}) {
    const TestFolder folder;
    const QuantizedWeight lut4 = random_weight(3, 128, scheme_of(name));
    const QuantizedWeight fp6 = random_weight(3, 128, scheme_of("fp6e2m3-g128"));
    const QuantizedWeight row = random_weight(3, 128, scheme_of("lut4-channel"));
    write_model(folder, {{kQ, lut4}, {kDown, fp6}, {kK, row}});
    const EmberqConfig emberq_config{.dequant = Dequant::kE4m3, .global_scale = {{kQ, 0.5f}}};
    folder.write("emberq.json", to_json(emberq_config).dump());
    QuantizedWeight expected = lut4;
    expected.scheme = scheme_of(name + std::string("-e4m3"));
    expect_read(folder, kQ, expected);
    expect_read(folder, kDown, fp6);
    expect_read(folder, kK, row);
    const Checkpoint checkpoint = Checkpoint::open(folder.path());
    EXPECT_EQ(checkpoint.linear(kQ, 3, 128)->weight.global_scale, 0.5f);
    EXPECT_EQ(checkpoint.linear(kDown, 3, 128)->weight.global_scale, 1);
  }
}

TEST(WeightSchemes, RefuseTheDequantDtypeOfEmberqJsonWhereThereIsNoneToHave) {
  for (const char* name : {"int8-channel", "lut4-channel", "int4-channel", "fp8e4m3-channel",
                           "fp6e2m3-g128", "int4-g128-asym"})
    EXPECT_REFUSED(open_with(OneLinear(name), {{"dequant_dtype", "e4m3"}}),
                   "emberq.json: dequant_dtype has no meaning", "no INT4 or LUT4 in groups");
}

TEST(WeightSchemes, RefuseAScaleOfProductsForALinearWithoutThem) {
  const TestFolder folder;
  write_model(folder, {{kQ, random_weight(3, 128, scheme_of("lut4-g128"))},
                       {kDown, random_weight(3, 128, scheme_of("fp6e2m3-g128"))}});
  const EmberqConfig emberq_config{.dequant = Dequant::kE4m3, .global_scale = {{kDown, 2.0f}}};
  folder.write("emberq.json", to_json(emberq_config).dump());
  EXPECT_REFUSED(Checkpoint::open(folder.path()), "global_scale names " + kDown,
                 "not a linear in INT4 or LUT4 in groups");
}

TEST(CheckpointEmberqConfig, RefusesMeansOfAnotherModel) {
  const OneLinear linear("int8-channel");
  const auto open = [&](const char* key, const Json& mean) {
    return open_with(linear, {{"attention", {{"kv", "fp"}, {"query", "none"}, {key, mean}}}});
  };
  const Json layer(std::vector<float>(128, 0.5f));
  for (const char* key : {"key_mean", "value_mean"}) {
    EXPECT_EQ(refusal([&] { open(key, Json::array({layer})); }), "");
    EXPECT_REFUSED(
        open(key, Json::array({layer, layer})),
        std::string("emberq.json: attention.") + key + " is for 2 layers, the model has 1");
    EXPECT_REFUSED(open(key, Json::array({Json::array({1, 2})})),
                   std::string("emberq.json: attention.") + key + "[0] is of 2 numbers", "128");
  }
}

TEST(CheckpointEmberqConfig, TakesAHadamardOfHeadsOfAnySize) {
  const OneLinear linear("int8-channel");
  const Json emberq_config = {{"attention", {{"kv", "fp"}, {"query", "none"}, {"hadamard", true}}}};
  EXPECT_TRUE(open_with(linear, emberq_config).attention().hadamard);
  write_config(linear.folder, Json(linear.quantization), 96);
  EXPECT_TRUE(Checkpoint::open(linear.folder.path()).attention().hadamard);
}

TEST(CheckpointEmberqConfig, RefusesABlockThatDoesNotDivideTheInputsOfDown) {
  const OneLinear linear("int8-channel");
  EXPECT_EQ(open_with(linear, {{"down_hadamard", 128}}).emberq_config().down_hadamard, 128);
  EXPECT_REFUSED(open_with(linear, {{"down_hadamard", 256}}), "emberq.json: down_hadamard is 256",
                 "intermediate_size 384");
}

}  // namespace
}  // namespace emberq::weight_schemes_test
