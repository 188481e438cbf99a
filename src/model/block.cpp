#include "model/block.h"

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

constexpr std::array<Row, kModules.size()> kRows = {{
    {"self_attn.q_proj", query, hidden, &ModelConfig::qkv_bias},
    {"self_attn.k_proj", key_value, hidden, &ModelConfig::qkv_bias},
    {"self_attn.v_proj", key_value, hidden, &ModelConfig::qkv_bias},
    {"self_attn.o_proj", hidden, query, &ModelConfig::o_bias},
    {"mlp.gate_proj", intermediate, hidden, &ModelConfig::mlp_bias},
    {"mlp.up_proj", intermediate, hidden, &ModelConfig::mlp_bias},
    {"mlp.down_proj", hidden, intermediate, &ModelConfig::mlp_bias},
}};

const Row& row(Module module) { return kRows[size_t(module)]; }

}  // namespace

std::string_view name(Module module) { return row(module).name; }
std::string_view short_name(Module module) {
  const std::string_view text = name(module);
  return text.substr(text.find('.') + 1);
}
int64_t outputs(const ModelConfig& config, Module module) { return row(module).outputs(config); }
int64_t inputs(const ModelConfig& config, Module module) { return row(module).inputs(config); }
bool has_bias(const ModelConfig& config, Module module) { return config.*row(module).bias; }

Site site_of(Module module) {
  switch (module) {
    case Module::kO:
      return Site::kO;
    case Module::kGate:
    case Module::kUp:
      return Site::kGateUp;
    case Module::kDown:
      return Site::kDown;
    default:
      return Site::kQkv;
  }
}

std::span<const Module> readers(Site site) {
  static constexpr std::array kQkv = {Module::kQ, Module::kK, Module::kV};
  static constexpr std::array kO = {Module::kO};
  static constexpr std::array kGateUp = {Module::kGate, Module::kUp};
  static constexpr std::array kDown = {Module::kDown};
  switch (site) {
    case Site::kQkv:
      return kQkv;
    case Site::kO:
      return kO;
    case Site::kGateUp:
      return kGateUp;
    default:
      return kDown;
  }
}

int64_t inputs(const ModelConfig& config, Site site) {
  return inputs(config, readers(site).front());
}

std::string layer_tensor(int64_t layer, std::string_view tensor) {
  return fmt::format("model.layers.{}.{}", layer, tensor);
}
std::string linear_name(int64_t layer, Module module) { return layer_tensor(layer, name(module)); }

}  // namespace emberq
