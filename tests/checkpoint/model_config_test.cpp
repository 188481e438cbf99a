#include "checkpoint/model_config.h"

#include "base/json.h"
#include "checkpoint/support.h"

namespace emberq::model_config_test {
namespace {

// What every family needs said; `more` adds keys, or replaces them.
Json config_of(const char* architecture, const char* model_type, const Json& more = {}) {
  Json config = {{"architectures", {architecture}},
                 {"model_type", model_type},
                 {"vocab_size", 1000},
                 {"hidden_size", 512},
                 {"intermediate_size", 1024},
                 {"num_hidden_layers", 4},
                 {"num_attention_heads", 8}};
  if (more.is_object()) config.update(more);
  return config;
}
Json llama(const Json& more = {}) { return config_of("LlamaForCausalLM", "llama", more); }
Json mistral(const Json& more = {}) { return config_of("MistralForCausalLM", "mistral", more); }
Json qwen2(Json more = {}) {
  more["num_key_value_heads"] = 2;
  return config_of("Qwen2ForCausalLM", "qwen2", more);
}
Json qwen3(Json more = {}) {
  more["num_key_value_heads"] = 2;
  return config_of("Qwen3ForCausalLM", "qwen3", more);
}
ModelConfig parse(const Json& config) { return parse_config(config, "config.json"); }

Json llama3_rope(Json more = {}) {
  Json rope = {{"rope_type", "llama3"},
               {"factor", 8.0},
               {"low_freq_factor", 1.0},
               {"high_freq_factor", 4.0},
               {"original_max_position_embeddings", 8192}};
  if (more.is_object()) rope.update(more);
  return rope;
}

TEST(ModelConfig, TakesLlamasDefaults) {
  const ModelConfig config = parse(llama());
  EXPECT_EQ(config.model_type, "llama");
  EXPECT_EQ(config.architecture, "LlamaForCausalLM");
  EXPECT_EQ(config.num_kv_heads, 8);
  EXPECT_EQ(config.head_dim, 64);
  EXPECT_EQ(config.max_positions, 2048);
  EXPECT_EQ(config.rms_norm_eps, 1e-6);
  EXPECT_EQ(config.rope.type, RopeType::kDefault);
  EXPECT_EQ(config.rope.theta, 10000);
  EXPECT_FALSE(config.tie_word_embeddings || config.qkv_bias || config.o_bias || config.mlp_bias ||
               config.qk_norm);
  EXPECT_EQ(config.sliding_window, std::vector<int64_t>(4, 0));
  EXPECT_EQ(config.dtype, std::nullopt);
  EXPECT_EQ(config.bos_id, std::nullopt);
  EXPECT_TRUE(config.eos_ids.empty());
}

TEST(ModelConfig, TakesMistralsDefaults) {
  const ModelConfig config = parse(mistral());
  EXPECT_EQ(config.num_kv_heads, 8);
  EXPECT_EQ(config.max_positions, 131072);
  EXPECT_EQ(config.sliding_window, std::vector<int64_t>(4, 4096));
}

TEST(ModelConfig, TakesQwen2sDefaults) {
  const ModelConfig config = parse(qwen2());
  EXPECT_TRUE(config.qkv_bias);
  EXPECT_FALSE(config.o_bias || config.qk_norm);
  EXPECT_EQ(config.head_dim, 64);
  EXPECT_EQ(config.sliding_window, std::vector<int64_t>(4, 0));
}

TEST(ModelConfig, TakesQwen3sDefaults) {
  const ModelConfig config = parse(qwen3());
  EXPECT_TRUE(config.qk_norm);
  EXPECT_FALSE(config.qkv_bias);
  EXPECT_EQ(config.head_dim, 128);
}

TEST(ModelConfig, ReadsBiasesWhereTheFamilyHasThem) {
  const Json biases = {{"attention_bias", true}, {"mlp_bias", true}};
  const ModelConfig with = parse(llama(biases));
  EXPECT_TRUE(with.qkv_bias && with.o_bias && with.mlp_bias);
  const ModelConfig without = parse(mistral(biases));
  EXPECT_FALSE(without.qkv_bias || without.o_bias || without.mlp_bias);
  const ModelConfig qwen = parse(qwen3(biases));
  EXPECT_TRUE(qwen.qkv_bias && qwen.o_bias);
  EXPECT_FALSE(qwen.mlp_bias);
}

TEST(ModelConfig, ReadsANullOfKeyValueHeadsAsNoGrouping) {
  EXPECT_EQ(
      parse(mistral({{"num_attention_heads", 16}, {"num_key_value_heads", nullptr}})).num_kv_heads,
      16);
}

TEST(ModelConfig, ReadsBothGenerationsOfRope) {
  for (const Json& config :
       {llama({{"rope_theta", 500000.0}, {"rope_scaling", llama3_rope()}}),
        llama({{"rope_parameters", llama3_rope({{"rope_theta", 500000.0}})}})}) {
    const RopeConfig rope = parse(config).rope;
    EXPECT_EQ(rope.type, RopeType::kLlama3);
    EXPECT_EQ(rope.theta, 500000);
    EXPECT_EQ(rope.factor, 8);
    EXPECT_EQ(rope.low_freq_factor, 1);
    EXPECT_EQ(rope.high_freq_factor, 4);
    EXPECT_EQ(rope.original_max_position_embeddings, 8192);
  }
}

TEST(ModelConfig, ReadsTheRopeTypesOldKey) {
  const RopeConfig rope =
      parse(llama({{"rope_scaling", {{"type", "linear"}, {"factor", 4.0}}}})).rope;
  EXPECT_EQ(rope.type, RopeType::kLinear);
  EXPECT_EQ(rope.factor, 4);
}

TEST(ModelConfig, ReadsBothGenerationsOfDtype) {
  EXPECT_EQ(parse(llama({{"dtype", "float16"}})).dtype, DType::kF16);
  EXPECT_EQ(parse(llama({{"torch_dtype", "float32"}})).dtype, DType::kF32);
  EXPECT_EQ(parse(llama({{"dtype", "float16"}, {"torch_dtype", "float32"}})).dtype, DType::kF16);
}

TEST(ModelConfig, ReadsTorchsOwnNamesOfTypesAndLeavesAutoToTheWeights) {
  EXPECT_EQ(parse(llama({{"torch_dtype", "torch.bfloat16"}})).dtype, DType::kBF16);
  EXPECT_EQ(parse(llama({{"dtype", "torch.float16"}})).dtype, DType::kF16);
  EXPECT_EQ(parse(llama({{"torch_dtype", "auto"}})).dtype, std::nullopt);
  EXPECT_EQ(parse(llama({{"dtype", nullptr}, {"torch_dtype", nullptr}})).dtype, std::nullopt);
  EXPECT_REFUSED(parse(llama({{"torch_dtype", "torch.int8"}})), "config.json: torch_dtype",
                 "torch.int8");
}

TEST(ModelConfig, ReadsTheOtherNameOfSilu) {
  EXPECT_EQ(parse(llama({{"hidden_act", "swish"}})).hidden_size, 512);
}

TEST(ModelConfig, ReadsADecoderWithoutAHead) {
  EXPECT_EQ(parse(config_of("LlamaModel", "llama")).architecture, "LlamaModel");
  EXPECT_TRUE(parse(qwen3({{"architectures", {"Qwen3Model"}}})).qk_norm);
  EXPECT_REFUSED(parse(config_of("LlamaForSequenceClassification", "llama")),
                 "config.json: architectures", "LlamaForSequenceClassification");
  EXPECT_REFUSED(parse(config_of("LlamaModel", "mistral")), "config.json: model_type");
}

TEST(ModelConfig, PassesOverRopeKeysThatItsTypeDoesNotRead) {
  const RopeConfig plain = parse(llama({{"rope_scaling",
                                         {{"type", "default"},
                                          {"factor", 8.0},
                                          {"mscale", 1.0},
                                          {"finetuned", true},
                                          {"beta_fast", 32}}}}))
                               .rope;
  EXPECT_EQ(plain.type, RopeType::kDefault);
  EXPECT_EQ(plain.factor, 1);
  const RopeConfig linear = parse(llama({{"rope_scaling",
                                          {{"type", "linear"},
                                           {"factor", 4},
                                           {"low_freq_factor", 1.0},
                                           {"attention_factor", 2.0},
                                           {"original_max_position_embeddings", 4096}}}}))
                                .rope;
  EXPECT_EQ(linear.type, RopeType::kLinear);
  EXPECT_EQ(linear.factor, 4);
}

TEST(ModelConfig, PassesOverKeysThatChangeNothing) {
  const ModelConfig config = parse(llama({{"pretraining_tp", 2},
                                          {"head_dim", nullptr},
                                          {"rope_scaling", nullptr},
                                          {"rope_parameters", Json::object()},
                                          {"attention_dropout", 0.1},
                                          {"initializer_range", 0.02},
                                          {"use_cache", true},
                                          {"layer_types", Json::array({"full_attention"})},
                                          {"quantization_config", nullptr},
                                          {"pad_token_id", -1}}));
  EXPECT_EQ(config.head_dim, 64);
  EXPECT_EQ(config.rope.type, RopeType::kDefault);
}

// transformers runs such a model as Ministral.
TEST(ModelConfig, LetsLayerTypesDecideForMistralToo) {
  const Json types =
      Json::array({"sliding_attention", "full_attention", "sliding_attention", "full_attention"});
  EXPECT_EQ(parse(mistral({{"sliding_window", 64}, {"layer_types", types}})).sliding_window,
            (std::vector<int64_t>{64, 0, 64, 0}));
}

TEST(ModelConfig, ReadsOneEndTokenOrSeveral) {
  EXPECT_EQ(parse(llama({{"eos_token_id", 7}})).eos_ids, (std::vector<int>{7}));
  EXPECT_EQ(parse(llama({{"eos_token_id", Json::array({7, 8})}})).eos_ids,
            (std::vector<int>{7, 8}));
  EXPECT_EQ(parse(llama({{"bos_token_id", 3}})).bos_id, 3);
}

TEST(ModelConfig, ReadsMistralsNullWindowAsFullAttention) {
  EXPECT_EQ(parse(mistral({{"sliding_window", nullptr}})).sliding_window,
            std::vector<int64_t>(4, 0));
}

TEST(ModelConfig, SlidesQwensUpperLayersWhereAsked) {
  const Json window = {
      {"use_sliding_window", true}, {"sliding_window", 64}, {"max_window_layers", 3}};
  EXPECT_EQ(parse(qwen2(window)).sliding_window, (std::vector<int64_t>{0, 0, 0, 64}));
  EXPECT_EQ(parse(qwen3(window)).sliding_window, (std::vector<int64_t>{0, 0, 0, 64}));
}

TEST(ModelConfig, IgnoresQwensWindowWhereNotAsked) {
  const Json types =
      Json::array({"sliding_attention", "full_attention", "sliding_attention", "full_attention"});
  EXPECT_EQ(parse(qwen2({{"sliding_window", 64}, {"layer_types", types}})).sliding_window,
            std::vector<int64_t>(4, 0));
}

TEST(ModelConfig, LetsLayerTypesDecide) {
  const Json types =
      Json::array({"sliding_attention", "full_attention", "sliding_attention", "full_attention"});
  EXPECT_EQ(
      parse(qwen2({{"use_sliding_window", true}, {"sliding_window", 64}, {"layer_types", types}}))
          .sliding_window,
      (std::vector<int64_t>{64, 0, 64, 0}));
}

TEST(ModelConfig, RefusesAnUnknownArchitectureByName) {
  EXPECT_REFUSED(parse(config_of("GemmaForCausalLM", "gemma")), "config.json: architectures",
                 "LlamaForCausalLM", "GemmaForCausalLM");
}

TEST(ModelConfig, RefusesAModelTypeThatContradictsTheArchitecture) {
  EXPECT_REFUSED(parse(llama({{"model_type", "gpt2"}})), "config.json: model_type", "gpt2");
}

TEST(ModelConfig, RefusesAnotherActivation) {
  EXPECT_REFUSED(parse(llama({{"hidden_act", "gelu"}})), "config.json: hidden_act", "gelu");
}

TEST(ModelConfig, RefusesUnknownRopeTypesByName) {
  for (const char* type : {"yarn", "dynamic", "longrope", "mrope"}) {
    EXPECT_REFUSED(parse(llama({{"rope_scaling", {{"rope_type", type}, {"factor", 2.0}}}})),
                   "config.json: rope_scaling.rope_type", type);
    EXPECT_REFUSED(parse(llama({{"rope_parameters", {{"rope_type", type}, {"factor", 2.0}}}})),
                   "config.json: rope_parameters.rope_type", type);
  }
}

TEST(ModelConfig, RefusesRopeOfAPartOfTheHead) {
  EXPECT_REFUSED(parse(llama({{"partial_rotary_factor", 0.5}})),
                 "config.json: partial_rotary_factor");
  EXPECT_REFUSED(parse(llama({{"rope_parameters", {{"partial_rotary_factor", 0.5}}}})),
                 "config.json: rope_parameters.partial_rotary_factor");
}

TEST(ModelConfig, RefusesRopeByLayerType) {
  EXPECT_REFUSED(
      parse(llama({{"rope_parameters", {{"full_attention", {{"rope_type", "default"}}}}}})),
      "config.json: rope_parameters.full_attention");
}

TEST(ModelConfig, RefusesGenerationsOfRopeThatDiffer) {
  EXPECT_EQ(
      parse(llama({{"rope_parameters", llama3_rope()}, {"rope_scaling", llama3_rope()}})).rope.type,
      RopeType::kLlama3);
  EXPECT_REFUSED(parse(llama({{"rope_parameters", llama3_rope()},
                              {"rope_scaling", llama3_rope({{"factor", 4.0}})}})),
                 "config.json: rope_scaling");
}

TEST(ModelConfig, RefusesLlama3RopeWithoutItsParameters) {
  for (const char* key : {"factor", "low_freq_factor", "high_freq_factor"})
    EXPECT_REFUSED(parse(llama({{"rope_scaling", llama3_rope({{key, nullptr}})}})),
                   "config.json: rope_scaling", key, "missing");
}

TEST(ModelConfig, RefusesLlama3RopeWithoutARamp) {
  EXPECT_REFUSED(parse(llama({{"rope_scaling", llama3_rope({{"high_freq_factor", 1.0}})}})),
                 "config.json: rope_scaling.high_freq_factor");
}

TEST(ModelConfig, RefusesSizesThatAreMissing) {
  for (const char* key : {"vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers",
                          "num_attention_heads", "architectures", "model_type"})
    EXPECT_REFUSED(parse(llama({{key, nullptr}})), "config.json", key, "missing");
}

TEST(ModelConfig, RefusesSizesThatAreZeroNegativeOrHuge) {
  for (const char* key :
       {"vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers",
        "num_attention_heads", "num_key_value_heads", "head_dim", "max_position_embeddings"})
    for (const Json& value : {Json(0), Json(-8), Json(1ll << 40), Json(1e300), Json("8")})
      EXPECT_REFUSED(parse(llama({{key, value}})), "config.json", key);
}

TEST(ModelConfig, RefusesHeadsThatKeyValueHeadsDoNotDivide) {
  EXPECT_REFUSED(parse(llama({{"num_key_value_heads", 3}})), "config.json: num_key_value_heads");
}

TEST(ModelConfig, RefusesAHiddenSizeThatHeadsDoNotDivide) {
  EXPECT_REFUSED(parse(llama({{"hidden_size", 510}})), "config.json: hidden_size");
}

TEST(ModelConfig, RefusesAnOddHeadDim) {
  EXPECT_REFUSED(parse(llama({{"head_dim", 63}})), "config.json: head_dim must be even, got 63");
  EXPECT_REFUSED(parse(llama({{"hidden_size", 8}})), "config.json: head_dim must be even, got 1");
}

TEST(ModelConfig, RefusesNumbersThatMustBePositive) {
  EXPECT_REFUSED(parse(llama({{"rms_norm_eps", 0.0}})), "config.json: rms_norm_eps");
  EXPECT_REFUSED(parse(llama({{"rope_theta", -1.0}})), "config.json: rope_theta");
}

TEST(ModelConfig, RefusesUnknownTypes) {
  EXPECT_REFUSED(parse(llama({{"dtype", "float8"}})), "config.json: dtype", "float8");
}

TEST(ModelConfig, RefusesLayerTypesItDoesNotKnow) {
  const auto with = [](const Json& types) {
    return qwen2({{"use_sliding_window", true}, {"layer_types", types}});
  };
  EXPECT_REFUSED(parse(with(Json::array({"full_attention"}))), "config.json: layer_types", "4");
  EXPECT_REFUSED(parse(with(Json::array(
                     {"full_attention", "full_attention", "full_attention", "linear_attention"}))),
                 "config.json: layer_types");
}

TEST(ModelConfig, RefusesTokenIdsThatAreNone) {
  EXPECT_REFUSED(parse(llama({{"eos_token_id", Json::array({1, "two"})}})),
                 "config.json: eos_token_id");
  EXPECT_REFUSED(parse(llama({{"bos_token_id", -1}})), "config.json: bos_token_id");
}

}  // namespace
}  // namespace emberq::model_config_test
