#include "checkpoint/compressed_tensors.h"

#include "checkpoint/support.h"

namespace emberq {
namespace {

const std::string kModule = "model.layers.0.self_attn.q_proj";

Json weights(const Json& more = {}) {
  Json args = {{"num_bits", 4},       {"type", "int"},     {"symmetric", true},
               {"strategy", "group"}, {"group_size", 128}, {"dynamic", false}};
  if (more.is_object()) args.update(more);
  return args;
}
Json fp8(const Json& more = {}) {
  Json args = {{"num_bits", 8},
               {"type", "float"},
               {"symmetric", true},
               {"strategy", "token"},
               {"dynamic", true}};
  if (more.is_object()) args.update(more);
  return args;
}
Json group(const Json& targets, const Json& weight_args, const Json& inputs = nullptr) {
  return {{"targets", targets}, {"weights", weight_args}, {"input_activations", inputs}};
}
Json linear_group(const Json& weight_args, const Json& inputs = nullptr) {
  return group(Json::array({"Linear"}), weight_args, inputs);
}
// A quantization_config of these groups; `more` adds keys, or replaces them.
Json config_of(const std::vector<Json>& groups, const Json& more = {}) {
  Json config = {{"quant_method", "compressed-tensors"}, {"format", "pack-quantized"}};
  for (size_t i = 0; i < groups.size(); ++i)
    config["config_groups"]["group_" + std::to_string(i)] = groups[i];
  if (more.is_object()) config.update(more);
  return config;
}
QuantizationConfig parse(const Json& config) {
  const Json file = {{"quantization_config", config}};
  return QuantizationConfig::parse(JsonObject(file, "config.json").object("quantization_config"));
}

TEST(QuantizationConfig, ReadsW4A8) {
  const auto config = parse(config_of({linear_group(weights(), fp8())}));
  const auto* found = config.find(kModule);
  ASSERT_NE(found, nullptr);
  EXPECT_EQ(found->scheme.weight, (WeightScheme{.bits = 4, .group_size = 128}));
  EXPECT_EQ(found->scheme.activation, ActivationScheme::kFp8Token);
  EXPECT_EQ(found->storage, WeightStorage::kPackQuantized);
}

TEST(QuantizationConfig, ReadsWeightOnly) {
  const auto config = parse(config_of({linear_group(weights())}));
  EXPECT_EQ(config.find(kModule)->scheme.activation, ActivationScheme::kNone);
}

TEST(QuantizationConfig, ReadsAScalePerRowAsAGroupSizeOfZero) {
  const auto config =
      parse(config_of({linear_group(weights({{"strategy", "channel"}, {"group_size", nullptr}}))}));
  EXPECT_EQ(config.find(kModule)->scheme.weight.group_size, 0);
}

TEST(QuantizationConfig, ReadsTheFormatOfAGroup) {
  Json own = linear_group(weights());
  own["format"] = "int-quantized";
  EXPECT_EQ(parse(config_of({own}, {{"format", "mixed-precision"}})).find(kModule)->storage,
            WeightStorage::kIntQuantized);
  EXPECT_EQ(parse(config_of({own})).find(kModule)->storage, WeightStorage::kIntQuantized);
}

TEST(QuantizationConfig, LeavesIgnoredLinears) {
  const auto config = parse(config_of({linear_group(weights())},
                                      {{"ignore", {"lm_head", "re:.*layers\\.(0|7)\\.mlp.*"}}}));
  EXPECT_EQ(config.find("lm_head"), nullptr);
  EXPECT_EQ(config.find("model.layers.7.mlp.up_proj"), nullptr);
  EXPECT_NE(config.find("model.layers.1.mlp.up_proj"), nullptr);
}

TEST(QuantizationConfig, MatchesPatternsFromTheStartOnly) {
  const auto config = parse(config_of({group(Json::array({"re:model.*q_proj"}), weights())}));
  EXPECT_NE(config.find(kModule), nullptr);
  EXPECT_EQ(config.find("draft." + kModule), nullptr);
}

TEST(QuantizationConfig, PrefersNamesToPatternsToClasses) {
  const auto config = parse(config_of({
      linear_group(weights({{"group_size", 32}})),
      group(Json::array({"re:.*self_attn.*"}), weights({{"group_size", 64}})),
      group(Json::array({kModule}), weights({{"group_size", 128}})),
  }));
  EXPECT_EQ(config.find("model.layers.0.mlp.up_proj")->scheme.weight.group_size, 32);
  EXPECT_EQ(config.find("model.layers.0.self_attn.k_proj")->scheme.weight.group_size, 64);
  EXPECT_EQ(config.find(kModule)->scheme.weight.group_size, 128);
}

TEST(QuantizationConfig, TakesEmptyObjectsForNothing) {
  EXPECT_EQ(refusal([] {
              parse(config_of({linear_group(weights())}, {{"sparsity_config", Json::object()},
                                                          {"transform_config", Json::object()},
                                                          {"kv_cache_scheme", nullptr}}));
            }),
            "");
}

TEST(QuantizationConfig, RefusesOtherMethodsByName) {
  for (const char* method : {"gptq", "awq", "fp8", "bitsandbytes"})
    EXPECT_REFUSED(parse({{"quant_method", method}}),
                   "config.json: quantization_config.quant_method", "compressed-tensors", method);
}

TEST(QuantizationConfig, RefusesOtherFormatsByName) {
  EXPECT_REFUSED(parse(config_of({linear_group(weights())}, {{"format", "marlin-24"}})),
                 "config.json: quantization_config.format", "marlin-24");
  EXPECT_REFUSED(parse(config_of({linear_group(weights())}, {{"format", "mixed-precision"}})),
                 "config.json: quantization_config.config_groups.group_0.format is missing");
}

TEST(QuantizationConfig, RefusesWhatEmberqDoesNotRun) {
  for (const char* key : {"kv_cache_scheme", "transform_config", "sparsity_config"})
    EXPECT_REFUSED(parse(config_of({linear_group(weights())}, {{key, {{"num_bits", 8}}}})),
                   "config.json: quantization_config.", key);
  Json outputs = linear_group(weights());
  outputs["output_activations"] = fp8();
  EXPECT_REFUSED(parse(config_of({outputs})), "group_0.output_activations");
}

TEST(QuantizationConfig, RefusesWeightsItDoesNotRunByKey) {
  const std::vector<std::pair<const char*, Json>> changes = {
      {"symmetric", false},   {"type", "float"},      {"num_bits", 3},
      {"strategy", "tensor"}, {"group_size", 0},      {"dynamic", true},
      {"actorder", "group"},  {"observer_typo", "x"}, {"block_structure", {128, 128}}};
  for (const auto& [key, value] : changes)
    EXPECT_REFUSED(parse(config_of({linear_group(weights({{key, value}}))})),
                   "config.json: quantization_config.config_groups.group_0.weights.", key);
}

TEST(QuantizationConfig, RefusesActivationsItDoesNotRunByKey) {
  const std::vector<std::pair<const char*, Json>> changes = {
      {"dynamic", false}, {"strategy", "tensor"}, {"type", "int"}, {"num_bits", 4}};
  for (const auto& [key, value] : changes)
    EXPECT_REFUSED(parse(config_of({linear_group(weights(), fp8({{key, value}}))})),
                   "config.json: quantization_config.config_groups.group_0.input_activations.",
                   key);
}

TEST(QuantizationConfig, TakesActivationOrdersThatKeepTheColumns) {
  for (const char* order : {"weight", "static"})
    EXPECT_EQ(refusal([&] {
                parse(config_of({linear_group(weights({{"actorder", order}}))}));
              }),
              "");
}

TEST(QuantizationConfig, RefusesAPatternThatDoesNotCompile) {
  EXPECT_REFUSED(parse(config_of({group(Json::array({"re:("}), weights())})), "'('");
}

TEST(QuantizationConfig, ReadsWhatItWrites) {
  const LinearScheme w4 = {.weight = {.bits = 4}, .activation = ActivationScheme::kFp8Token};
  const LinearScheme w6 = {.weight = {.bits = 6}, .activation = ActivationScheme::kNone};
  const auto written = quantization_config({{"a", w4}, {"b", w6}, {"c", w4}}, {"lm_head"});
  const auto config = parse(Json(written));
  EXPECT_EQ(config.find("a")->scheme, w4);
  EXPECT_EQ(config.find("b")->scheme, w6);
  EXPECT_EQ(config.find("c")->scheme, w4);
  EXPECT_EQ(config.find("lm_head"), nullptr);
  EXPECT_EQ(written["config_groups"].size(), 2u);
}

TEST(QuantizationConfig, TargetsTheClassWhereThereIsOneScheme) {
  const auto written = quantization_config(
      {{"a", {.weight = {}, .activation = ActivationScheme::kFp8Token}}}, {"lm_head"});
  EXPECT_EQ(written["config_groups"]["group_0"]["targets"], OrderedJson::array({"Linear"}));
}

}  // namespace
}  // namespace emberq
