#include "model/parameters.h"

#include <array>

namespace emberq {
namespace {

int64_t vocab(const ModelConfig& c) { return c.vocab_size; }
int64_t hidden(const ModelConfig& c) { return c.hidden_size; }
int64_t intermediate(const ModelConfig& c) { return c.intermediate_size; }
int64_t query(const ModelConfig& c) { return c.num_heads * c.head_dim; }
int64_t key_value(const ModelConfig& c) { return c.num_kv_heads * c.head_dim; }
int64_t head_dim(const ModelConfig& c) { return c.head_dim; }

bool qk_norm(const ModelConfig& c) { return c.qk_norm; }
bool qkv_bias(const ModelConfig& c) { return c.qkv_bias; }
bool o_bias(const ModelConfig& c) { return c.o_bias; }
bool mlp_bias(const ModelConfig& c) { return c.mlp_bias; }
bool untied(const ModelConfig& c) { return !c.tie_word_embeddings; }

constexpr Parameter norm(std::string_view name, Norm norm, LinearInput site,
                         int64_t (*size)(const ModelConfig&),
                         bool (*present_if)(const ModelConfig&) = nullptr) {
  return {.name = name,
          .kind = ParameterKind::kNorm,
          .rows = size,
          .present_if = present_if,
          .site = site,
          .norm = norm};
}

constexpr Parameter weight(std::string_view name, Projection module, LinearInput site,
                           int64_t (*outputs)(const ModelConfig&),
                           int64_t (*inputs)(const ModelConfig&)) {
  return {.name = name,
          .kind = ParameterKind::kWeight,
          .rows = outputs,
          .columns = inputs,
          .site = site,
          .module = module};
}

constexpr Parameter bias(std::string_view name, Projection module, LinearInput site,
                         int64_t (*outputs)(const ModelConfig&),
                         bool (*present_if)(const ModelConfig&)) {
  return {.name = name,
          .kind = ParameterKind::kBias,
          .rows = outputs,
          .present_if = present_if,
          .site = site,
          .module = module};
}

constexpr std::array kLayer = {
    norm("input_layernorm.weight", Norm::kInput, LinearInput::kAttention, hidden),
    norm("post_attention_layernorm.weight", Norm::kPostAttention, LinearInput::kMlp, hidden),
    norm("self_attn.q_norm.weight", Norm::kQ, LinearInput::kAttentionOut, head_dim, qk_norm),
    norm("self_attn.k_norm.weight", Norm::kK, LinearInput::kAttentionOut, head_dim, qk_norm),
    weight("self_attn.q_proj.weight", Projection::kQ, LinearInput::kAttention, query, hidden),
    bias("self_attn.q_proj.bias", Projection::kQ, LinearInput::kAttention, query, qkv_bias),
    weight("self_attn.k_proj.weight", Projection::kK, LinearInput::kAttention, key_value, hidden),
    bias("self_attn.k_proj.bias", Projection::kK, LinearInput::kAttention, key_value, qkv_bias),
    weight("self_attn.v_proj.weight", Projection::kV, LinearInput::kAttention, key_value, hidden),
    bias("self_attn.v_proj.bias", Projection::kV, LinearInput::kAttention, key_value, qkv_bias),
    weight("self_attn.o_proj.weight", Projection::kO, LinearInput::kAttentionOut, hidden, query),
    bias("self_attn.o_proj.bias", Projection::kO, LinearInput::kAttentionOut, hidden, o_bias),
    weight("mlp.gate_proj.weight", Projection::kGate, LinearInput::kMlp, intermediate, hidden),
    bias("mlp.gate_proj.bias", Projection::kGate, LinearInput::kMlp, intermediate, mlp_bias),
    weight("mlp.up_proj.weight", Projection::kUp, LinearInput::kMlp, intermediate, hidden),
    bias("mlp.up_proj.bias", Projection::kUp, LinearInput::kMlp, intermediate, mlp_bias),
    weight("mlp.down_proj.weight", Projection::kDown, LinearInput::kMlpDown, hidden, intermediate),
    bias("mlp.down_proj.bias", Projection::kDown, LinearInput::kMlpDown, hidden, mlp_bias),
};

// Index of a module's row, or the number of rows.
constexpr size_t find(ParameterKind kind, Projection module) {
  size_t i = 0;
  while (i < kLayer.size() && (kLayer[i].kind != kind || kLayer[i].module != module)) ++i;
  return i;
}

template <ParameterKind kKind>
constexpr std::array<size_t, kProjections.size()> rows_of() {
  std::array<size_t, kProjections.size()> rows{};
  for (const Projection module : kProjections) rows[size_t(module)] = find(kKind, module);
  return rows;
}

constexpr auto kWeightRows = rows_of<ParameterKind::kWeight>(),
               kBiasRows = rows_of<ParameterKind::kBias>();

}  // namespace

constinit const Parameter kEmbedding = {kEmbeddingName, ParameterKind::kTable, vocab, hidden};
constinit const Parameter kFinalNorm = {kFinalNormName, ParameterKind::kNorm, hidden};
constinit const Parameter kHead = {kHeadName, ParameterKind::kTable, vocab, hidden, untied};

std::vector<int64_t> Parameter::shape(const ModelConfig& config) const {
  if (!columns) return {rows(config)};
  return {rows(config), columns(config)};
}

std::span<const Parameter> layer_parameters() { return kLayer; }
const Parameter& weight_of(Projection module) { return kLayer[kWeightRows[size_t(module)]]; }
const Parameter& bias_of(Projection module) { return kLayer[kBiasRows[size_t(module)]]; }

}  // namespace emberq
