#include "model/decoder_layer.h"

#include <fmt/format.h>

namespace emberq {
namespace {

struct Row {
  std::string_view name;
  int64_t (*outputs)(const ModelConfig&);
  int64_t (*inputs)(const ModelConfig&);
  bool ModelConfig::*bias;
};

int64_t hidden(const ModelConfig& c) { return c.hidden_size; }
int64_t intermediate(const ModelConfig& c) { return c.intermediate_size; }
int64_t query(const ModelConfig& c) { return c.num_heads * c.head_dim; }
int64_t key_value(const ModelConfig& c) { return c.num_kv_heads * c.head_dim; }

constexpr std::array<Row, kProjections.size()> kRows = {{
    {"self_attn.q_proj", query, hidden, &ModelConfig::qkv_bias},
    {"self_attn.k_proj", key_value, hidden, &ModelConfig::qkv_bias},
    {"self_attn.v_proj", key_value, hidden, &ModelConfig::qkv_bias},
    {"self_attn.o_proj", hidden, query, &ModelConfig::o_bias},
    {"mlp.gate_proj", intermediate, hidden, &ModelConfig::mlp_bias},
    {"mlp.up_proj", intermediate, hidden, &ModelConfig::mlp_bias},
    {"mlp.down_proj", hidden, intermediate, &ModelConfig::mlp_bias},
}};

const Row& row(Projection module) { return kRows[size_t(module)]; }

}  // namespace

std::string_view name(Projection module) { return row(module).name; }
std::string_view short_name(Projection module) {
  const std::string_view text = name(module);
  return text.substr(text.find('.') + 1);
}
int64_t outputs(const ModelConfig& config, Projection module) {
  return row(module).outputs(config);
}
int64_t inputs(const ModelConfig& config, Projection module) { return row(module).inputs(config); }
bool has_bias(const ModelConfig& config, Projection module) { return config.*row(module).bias; }

LinearInput input_of(Projection module) {
  switch (module) {
    case Projection::kO:
      return LinearInput::kAttentionOut;
    case Projection::kGate:
    case Projection::kUp:
      return LinearInput::kMlp;
    case Projection::kDown:
      return LinearInput::kMlpDown;
    default:
      return LinearInput::kAttention;
  }
}

std::span<const Projection> linears_reading(LinearInput site) {
  static constexpr std::array kQkv = {Projection::kQ, Projection::kK, Projection::kV};
  static constexpr std::array kO = {Projection::kO};
  static constexpr std::array kGateUp = {Projection::kGate, Projection::kUp};
  static constexpr std::array kDown = {Projection::kDown};
  switch (site) {
    case LinearInput::kAttention:
      return kQkv;
    case LinearInput::kAttentionOut:
      return kO;
    case LinearInput::kMlp:
      return kGateUp;
    default:
      return kDown;
  }
}

int64_t inputs(const ModelConfig& config, LinearInput site) {
  return inputs(config, linears_reading(site).front());
}

std::string layer_tensor(int64_t layer, std::string_view tensor) {
  return fmt::format("model.layers.{}.{}", layer, tensor);
}
std::string linear_name(int64_t layer, Projection module) {
  return layer_tensor(layer, name(module));
}

}  // namespace emberq
