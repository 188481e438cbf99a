#include "base/json.h"
#include "checkpoint/compressed_tensors/config.h"
#include "checkpoint/support.h"

namespace emberq::compressed_tensors_test {
namespace {

const std::string kModule = "model.layers.0.self_attn.q_proj";

Json weights(const Json& more = {}) {
  Json args = {{"num_bits", 4},       {"type", "int"},     {"symmetric", true},
               {"strategy", "group"}, {"group_size", 128}, {"dynamic", false}};
  if (more.is_object()) args.update(more);
  return args;
}
Json inputs(const Json& more = {}) {
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
  const auto config = parse(config_of({linear_group(weights(), inputs())}));
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

TEST(QuantizationConfig, ReadsEveryWidthOfIntegers) {
  for (int bits = 2; bits <= 8; ++bits)
    EXPECT_EQ(parse(config_of({linear_group(weights({{"num_bits", bits}}))}))
                  .find(kModule)
                  ->scheme.weight,
              (WeightScheme{.bits = bits, .group_size = 128}));
}

TEST(QuantizationConfig, ReadsFp8WeightsByEitherNameOfTheirFormat) {
  const Json args = {{"num_bits", 8}, {"type", "float"}, {"strategy", "channel"}};
  for (const char* format : {"float-quantized", "naive-quantized"}) {
    const auto config = parse(config_of({linear_group(args)}, {{"format", format}}));
    EXPECT_EQ(config.find(kModule)->scheme.weight,
              (WeightScheme{.bits = 8, .group_size = 0, .code = WeightCode::kFloat}));
    EXPECT_EQ(config.find(kModule)->storage, WeightStorage::kFloatQuantized);
  }
}

TEST(QuantizationConfig, ReadsInt4WithZeroPoints) {
  const auto config = parse(config_of({linear_group(weights({{"symmetric", false}}))}));
  EXPECT_EQ(config.find(kModule)->scheme.weight,
            (WeightScheme{.bits = 4, .group_size = 128, .zero_point = true}));
}

TEST(QuantizationConfig, ReadsIntegerActivations) {
  const auto read = [](const Json& more) {
    return parse(config_of({linear_group(weights(), inputs(more))}))
        .find(kModule)
        ->scheme.activation;
  };
  EXPECT_EQ(read({{"type", "int"}}), ActivationScheme::kInt8Token);
  for (const int size : {32, 64, 128}) {
    Json groups = {{"type", "int"}, {"strategy", "group"}, {"group_size", size}};
    EXPECT_EQ(read(groups), (ActivationScheme{ActivationCode::kInt8, size}));
    groups["num_bits"] = 6;
    EXPECT_EQ(read(groups), (ActivationScheme{ActivationCode::kInt6, size}));
  }
}

TEST(QuantizationConfig, WrittenAndReadHasTheGroupsOfWeightsAndInputs) {
  for (const int size : {32, 64, 128})
    for (const ActivationCode code : {ActivationCode::kInt8, ActivationCode::kInt6}) {
      const LinearScheme scheme = {.weight = {.bits = 6, .group_size = size},
                                   .activation = {code, size}};
      const OrderedJson config = quantization_config({{std::string(kModule), scheme}}, {});
      EXPECT_EQ(parse(Json(config)).find(kModule)->scheme, scheme) << name(scheme.activation);
    }
}

TEST(QuantizationConfig, ReadsEmberqsTypesUnderItsOwnMethodOnly) {
  const Json lut = weights({{"type", "lut"}}), fp6 = weights({{"type", "float"}, {"num_bits", 6}});
  const auto config =
      parse(config_of({group({"a"}, lut), group({"b"}, fp6), linear_group(weights())},
                      {{"quant_method", "emberq"}}));
  EXPECT_EQ(config.find("a")->scheme.weight, (WeightScheme{.code = WeightCode::kLut}));
  EXPECT_EQ(config.find("b")->scheme.weight, (WeightScheme{.bits = 6, .code = WeightCode::kFloat}));
  EXPECT_EQ(config.find(kModule)->scheme.weight, WeightScheme());
  EXPECT_REFUSED(parse(config_of({linear_group(lut)})), "group_0.weights.type", "lut");
  EXPECT_REFUSED(parse(config_of({linear_group(fp6)})), "group_0.weights.num_bits", "6");
}

TEST(QuantizationConfig, RefusesAFormatThatDoesNotHoldTheCodes) {
  const Json e4m3 = {{"num_bits", 8}, {"type", "float"}, {"strategy", "channel"}};
  for (const char* format : {"pack-quantized", "int-quantized"})
    EXPECT_REFUSED(parse(config_of({linear_group(e4m3)}, {{"format", format}})),
                   "config.json: quantization_config.format must be float-quantized", format);
  EXPECT_REFUSED(parse(config_of({linear_group(weights())}, {{"format", "float-quantized"}})),
                 "quantization_config.format must be pack-quantized or int-quantized");
  EXPECT_REFUSED(parse(config_of({linear_group(weights({{"type", "lut"}}))},
                                 {{"quant_method", "emberq"}, {"format", "int-quantized"}})),
                 "quantization_config.format must be pack-quantized where weights are lut4-g128");
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

TEST(QuantizationConfig, TakesASparsityThatIsDense) {
  const Json dense = {{"format", "dense"},
                      {"global_sparsity", 0.143},
                      {"ignore", Json::array()},
                      {"registry_requires_subclass", false},
                      {"sparsity_structure", "unstructured"},
                      {"targets", Json::array()}};
  const auto with = [](const Json& sparsity) {
    return config_of({linear_group(weights())}, {{"sparsity_config", sparsity}});
  };
  EXPECT_EQ(parse(with(dense)).groups().size(), 1u);
  EXPECT_REFUSED(parse(with({{"format", "sparse-24-bitmask"}})),
                 "sparsity_config.format must be dense", "sparse-24-bitmask");
  EXPECT_REFUSED(parse(with({{"sparsity_structure", "2:4"}})), "sparsity_config.format is missing");
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
  outputs["output_activations"] = inputs();
  EXPECT_REFUSED(parse(config_of({outputs})), "group_0.output_activations");
}

TEST(QuantizationConfig, RefusesWeightsItDoesNotRunByKey) {
  const std::vector<std::pair<const char*, Json>> changes = {
      {"type", "double"},     {"num_bits", 1},        {"num_bits", 9},
      {"strategy", "tensor"}, {"group_size", 0},      {"dynamic", true},
      {"actorder", "group"},  {"observer_typo", "x"}, {"block_structure", {128, 128}}};
  for (const auto& [key, value] : changes)
    EXPECT_REFUSED(parse(config_of({linear_group(weights({{key, value}}))})),
                   "config.json: quantization_config.config_groups.group_0.weights.", key);
  for (const Json& args : {weights({{"symmetric", false}, {"num_bits", 8}}),
                           weights({{"symmetric", false}, {"num_bits", 8}, {"type", "float"}})})
    EXPECT_REFUSED(parse(config_of({linear_group(args)}, {{"format", "naive-quantized"}})),
                   "group_0.weights.symmetric must be true for all but INT4");
  EXPECT_REFUSED(parse(config_of({linear_group(weights({{"type", "float"}}))})),
                 "group_0.weights.num_bits must be 8 for floats");
}

TEST(QuantizationConfig, RefusesActivationsItDoesNotRunByKey) {
  const std::vector<std::pair<const char*, Json>> changes = {
      {"dynamic", false}, {"strategy", "tensor"}, {"strategy", "group"}, {"type", "double"},
      {"num_bits", 4},    {"num_bits", 6},        {"symmetric", false},  {"group_size", 128}};
  for (const auto& [key, value] : changes)
    EXPECT_REFUSED(parse(config_of({linear_group(weights(), inputs({{key, value}}))})),
                   "config.json: quantization_config.config_groups.group_0.input_activations.",
                   key);
}

TEST(QuantizationConfig, RefusesActivationGroupsItDoesNotRun) {
  const Json groups = {{"type", "int"}, {"strategy", "group"}, {"group_size", 128}};
  for (const auto& [key, value] :
       std::vector<std::pair<const char*, Json>>{{"group_size", 96}, {"num_bits", 4}}) {
    Json args = inputs(groups);
    args[key] = value;
    EXPECT_REFUSED(parse(config_of({linear_group(weights(), args)})), "group_0.input_activations.",
                   key);
  }
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

TEST(QuantizationConfig, ReadsEverySchemeThatItWrites) {
  for (const char* weight :
       {"int4-g128", "int4-g32", "int3-g64", "int6-g128", "int8-g128", "int4-channel",
        "int6-channel", "int8-channel", "int4-g64-asym", "fp8e4m3-channel", "fp8e4m3-g128",
        "lut4-g64", "fp6e2m3-g128", "fp6e2m3-channel"})
    for (const char* activation : {"none", "fp8-token", "int8-token", "int8-g128", "int6-g128"}) {
      const LinearScheme scheme = {*weight_scheme_from_name(weight),
                                   *activation_scheme_from_name(activation)};
      const auto config = parse(Json(quantization_config({{"a", scheme}}, {})));
      EXPECT_EQ(config.find("a")->scheme, scheme) << weight << ", " << activation;
    }
}

TEST(QuantizationConfig, NamesItsOwnMethodForEveryGroupWhereOneHasItsTypes) {
  const auto method = [](const std::vector<const char*>& names) {
    std::vector<std::pair<std::string, LinearScheme>> linears;
    for (const char* scheme : names)
      linears.emplace_back(scheme, LinearScheme{.weight = *weight_scheme_from_name(scheme)});
    return quantization_config(linears, {})["quant_method"].get<std::string>();
  };
  EXPECT_EQ(method({"int4-g128", "fp8e4m3-channel", "int8-channel", "int4-g128-asym"}),
            "compressed-tensors");
  EXPECT_EQ(method({"int4-g128", "lut4-g128"}), "emberq");
  EXPECT_EQ(method({"fp6e2m3-g128"}), "emberq");
  const LinearScheme int4;
  EXPECT_EQ(quantization_config({{"a", int4}}, {}, true)["quant_method"], "emberq");
  EXPECT_EQ(parse(Json(quantization_config({{"a", int4}}, {}, true))).find("a")->scheme, int4);
}

TEST(QuantizationConfig, WritesMixedPrecisionWhereFormatsDiffer) {
  const auto w4 = LinearScheme{.weight = *weight_scheme_from_name("int4-g128")},
             w6 = LinearScheme{.weight = *weight_scheme_from_name("int6-g128")},
             w8 = LinearScheme{.weight = *weight_scheme_from_name("fp8e4m3-channel")};
  EXPECT_EQ(quantization_config({{"a", w4}, {"b", w6}}, {})["format"], "pack-quantized");
  EXPECT_EQ(quantization_config({{"a", w8}}, {})["format"], "float-quantized");
  const auto mixed = quantization_config({{"a", w4}, {"b", w8}}, {});
  EXPECT_EQ(mixed["format"], "mixed-precision");
  EXPECT_EQ(mixed["config_groups"]["group_0"]["format"], "pack-quantized");
  EXPECT_EQ(mixed["config_groups"]["group_1"]["format"], "float-quantized");
  EXPECT_EQ(mixed["config_groups"]["group_1"]["targets"], OrderedJson::array({"b"}));
}

TEST(QuantizationConfig, TargetsTheClassWhereThereIsOneScheme) {
  const auto written = quantization_config(
      {{"a", {.weight = {}, .activation = ActivationScheme::kFp8Token}}}, {"lm_head"});
  EXPECT_EQ(written["config_groups"]["group_0"]["targets"], OrderedJson::array({"Linear"}));
}

// In vLLM a head is of another class.
TEST(QuantizationConfig, HasAHeadInAGroupOfItsOwnWhateverTheOthersAre) {
  const auto fp8 = LinearScheme{.weight = *weight_scheme_from_name("fp8e4m3-channel")},
             w4 = LinearScheme{.weight = *weight_scheme_from_name("int4-g128")};
  for (const LinearScheme& blocks : {fp8, w4}) {
    const auto written = quantization_config({{"a", blocks}, {"b", blocks}, {"lm_head", fp8}}, {});
    EXPECT_EQ(written["config_groups"].size(), 2u);
    EXPECT_EQ(written["config_groups"]["group_0"]["targets"], OrderedJson::array({"Linear"}));
    EXPECT_EQ(written["config_groups"]["group_1"]["targets"], OrderedJson::array({"lm_head"}));
    const auto config = parse(Json(written));
    EXPECT_EQ(config.find("lm_head")->scheme, fp8);
    EXPECT_EQ(config.find("b")->scheme, blocks);
  }
  const auto differing = quantization_config({{"a", fp8}, {"b", w4}, {"lm_head", w4}}, {});
  EXPECT_EQ(differing["config_groups"]["group_1"]["targets"], OrderedJson::array({"b"}));
  EXPECT_EQ(differing["config_groups"]["group_2"]["targets"], OrderedJson::array({"lm_head"}));
}

}  // namespace
}  // namespace emberq::compressed_tensors_test
