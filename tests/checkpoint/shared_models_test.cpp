// The models beside the tree, against what their config.json says.
#include "base/json.h"
#include "checkpoint/checkpoint.h"
#include "checkpoint/support.h"
#include "support/shared.h"

namespace emberq::shared_models_test {
namespace {

class SharedModel : public ::testing::TestWithParam<const char*> {};

TEST_P(SharedModel, ParsesToTheValuesOfItsConfig) {
  EMBERQ_NEEDS_SHARED(GetParam());
  const fs::path folder = test::shared_folder() / GetParam();
  const Json json = read_json(folder / "config.json");
  const ModelConfig config = Checkpoint::open(folder).config();
  EXPECT_EQ(config.architecture, json["architectures"][0]);
  EXPECT_EQ(config.model_type, json["model_type"]);
  EXPECT_EQ(config.vocab_size, json["vocab_size"]);
  EXPECT_EQ(config.hidden_size, json["hidden_size"]);
  EXPECT_EQ(config.intermediate_size, json["intermediate_size"]);
  EXPECT_EQ(config.num_layers, json["num_hidden_layers"]);
  EXPECT_EQ(config.num_heads, json["num_attention_heads"]);
  EXPECT_EQ(config.num_kv_heads, json["num_key_value_heads"]);
  EXPECT_EQ(config.head_dim, json["head_dim"]);
  EXPECT_EQ(config.max_positions, json["max_position_embeddings"]);
  EXPECT_EQ(config.rms_norm_eps, json["rms_norm_eps"]);
  EXPECT_EQ(config.tie_word_embeddings, json["tie_word_embeddings"]);
  EXPECT_EQ(config.bos_id, json["bos_token_id"]);
  EXPECT_EQ(config.eos_ids, std::vector<int>{json["eos_token_id"]});
  EXPECT_EQ(config.dtype, DType::kBF16);
  const Json rope = json.value("rope_parameters", json);
  EXPECT_EQ(config.rope.theta, rope["rope_theta"]);
  EXPECT_EQ(config.rope.type == RopeType::kLlama3, rope.value("rope_type", "") == "llama3");
  EXPECT_EQ(config.rope.factor, rope.value("factor", 1.0));
  const bool slides = json["model_type"] == "mistral";
  EXPECT_EQ(config.sliding_window,
            std::vector<int64_t>(size_t(config.num_layers),
                                 slides ? json["sliding_window"].get<int64_t>() : 0));
  EXPECT_EQ(config.qkv_bias, json["model_type"] == "qwen2");
  EXPECT_EQ(config.qk_norm, json["model_type"] == "qwen3");
}

TEST_P(SharedModel, HasTheTensorsThatItsConfigSpeaksOf) {
  EMBERQ_NEEDS_SHARED(GetParam());
  const Checkpoint checkpoint = Checkpoint::open(test::shared_folder() / GetParam());
  const ModelConfig& config = checkpoint.config();
  const std::string last = "model.layers." + std::to_string(config.num_layers - 1);
  const int64_t q = config.num_heads * config.head_dim, kv = config.num_kv_heads * config.head_dim;
  checkpoint.get("model.embed_tokens.weight", {config.vocab_size, config.hidden_size});
  checkpoint.get(last + ".self_attn.q_proj.weight", {q, config.hidden_size});
  checkpoint.get(last + ".self_attn.v_proj.weight", {kv, config.hidden_size});
  checkpoint.get(last + ".mlp.down_proj.weight", {config.hidden_size, config.intermediate_size});
  EXPECT_EQ(checkpoint.has(last + ".self_attn.q_proj.bias"), config.qkv_bias);
  EXPECT_EQ(checkpoint.has(last + ".self_attn.q_norm.weight"), config.qk_norm);
  EXPECT_EQ(checkpoint.has("lm_head.weight"), !config.tie_word_embeddings);
}

INSTANTIATE_TEST_SUITE_P(Shared, SharedModel,
                         ::testing::Values("models/golden/tiny-llama", "models/golden/tiny-llama31",
                                           "models/golden/tiny-mistral", "models/golden/tiny-qwen2",
                                           "models/golden/tiny-qwen3", "models/nano-wiki",
                                           "models/small-wiki"),
                         [](const auto& model) {
                           std::string name = fs::path(model.param).filename();
                           std::ranges::replace(name, '-', '_');
                           return name;
                         });

}  // namespace
}  // namespace emberq::shared_models_test
