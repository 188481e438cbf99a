#include "apps/random_model.h"

#include <algorithm>
#include <array>

#include "base/check.h"
#include "base/json.h"
#include "bench/operands.h"
#include "format/bf16.h"
#include "format/pack.h"
#include "model/decoder_layer.h"
#include "quant/recipe/group_size.h"

namespace emberq {
namespace {

struct Published {
  std::string_view name, config;
};
constexpr std::array kPublished = {
    Published{"llama-3-8b", R"({"architectures": ["LlamaForCausalLM"], "model_type": "llama",
      "vocab_size": 128256, "hidden_size": 4096, "intermediate_size": 14336,
      "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8,
      "max_position_embeddings": 131072, "rms_norm_eps": 1e-5, "rope_theta": 500000.0,
      "hidden_act": "silu", "torch_dtype": "bfloat16", "bos_token_id": 0, "eos_token_id": 1})"},
    Published{"llama-2-7b", R"({"architectures": ["LlamaForCausalLM"], "model_type": "llama",
      "vocab_size": 32000, "hidden_size": 4096, "intermediate_size": 11008,
      "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 32,
      "max_position_embeddings": 131072, "rms_norm_eps": 1e-5, "rope_theta": 10000.0,
      "hidden_act": "silu", "torch_dtype": "bfloat16", "bos_token_id": 0, "eos_token_id": 1})"},
    Published{"llama-2-70b", R"({"architectures": ["LlamaForCausalLM"], "model_type": "llama",
      "vocab_size": 32000, "hidden_size": 8192, "intermediate_size": 28672,
      "num_hidden_layers": 80, "num_attention_heads": 64, "num_key_value_heads": 8,
      "max_position_embeddings": 131072, "rms_norm_eps": 1e-5, "rope_theta": 10000.0,
      "hidden_act": "silu", "torch_dtype": "bfloat16", "bos_token_id": 0, "eos_token_id": 1})"},
    Published{"qwen2.5-7b", R"({"architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2",
      "vocab_size": 152064, "hidden_size": 3584, "intermediate_size": 18944,
      "num_hidden_layers": 28, "num_attention_heads": 28, "num_key_value_heads": 4,
      "max_position_embeddings": 131072, "rms_norm_eps": 1e-6, "rope_theta": 1000000.0,
      "hidden_act": "silu", "torch_dtype": "bfloat16", "bos_token_id": 0, "eos_token_id": 1})"},
};

// Magnitudes of 1/2 to 2 times `size`, a power of two, of either sign.
std::vector<bf16> random_numbers(int64_t count, float size, bool positive) {
  bench::RandomWords words(1);
  std::vector<bf16> numbers(static_cast<size_t>(count));
  for (size_t i = 0; i < numbers.size(); i += 4) {
    uint64_t word = words();
    for (size_t j = i; j < std::min(i + 4, numbers.size()); ++j, word >>= 16) {
      const float magnitude = (1 + float(word & 127) / 128) * (word & 128 ? 0.5f : 1.0f) * size;
      numbers[j] = bf16::from_float(!positive && word & 256 ? -magnitude : magnitude);
    }
  }
  return numbers;
}

QuantizedWeight random_codes(int64_t n, int64_t k, WeightScheme scheme) {
  if (scheme.group_size == 0) scheme.group_size = int(k);
  const int64_t words = int64_t(packed_words(size_t(k), scheme.bits)),
                groups = k / scheme.group_size;
  bench::RandomWords random(1);
  std::vector<uint32_t> packed(size_t(n * words));
  for (uint32_t& word : packed) {
    word = uint32_t(random() >> 32);
    // An e4m3 byte of all ones is NaN.
    if (scheme.code == WeightCode::kFloat && scheme.bits == 8) word &= 0xbfbfbfbf;
  }
  const auto scales = random_numbers(n * groups, 0x1p-10f, true);
  QuantizedWeight weight{
      .scheme = scheme,
      .n = n,
      .k = k,
      .packed = Tensor::copy_of(DType::kI32, {n, words}, std::span<const uint32_t>(packed)),
      .scale = Tensor::copy_of(DType::kBF16, {n, groups}, std::span<const bf16>(scales))};
  if (scheme.zero_point) {
    const std::vector<int8_t> zeros(size_t(n * groups));
    weight.zero_point = Tensor::copy_of(DType::kI8, {n, groups}, std::span<const int8_t>(zeros));
  }
  return weight;
}

EmberqConfig emberq_config_of(const ModelConfig& config, const Recipe& recipe) {
  EmberqConfig result;
  AttentionScheme& attention = result.attention;
  attention.kv = recipe.kv;
  attention.query = recipe.query;
  attention.probability = recipe.probability;
  attention.hadamard = recipe.rotation.keys;
  if (recipe.subtract_kv_mean) {
    const std::vector<float> mean(size_t(config.num_kv_heads * config.head_dim), 0.125f);
    attention.key_mean.assign(size_t(config.num_layers), mean);
    attention.value_mean = attention.key_mean;
  }
  result.down_hadamard = recipe.rotation.down;
  while (result.down_hadamard && config.intermediate_size % result.down_hadamard)
    result.down_hadamard /= 2;
  return result;
}

}  // namespace

std::vector<std::string> published_configs() {
  std::vector<std::string> names;
  for (const Published& one : kPublished) names.emplace_back(one.name);
  return names;
}

ModelConfig published_config(const std::string& name_or_file) {
  for (const Published& one : kPublished)
    if (one.name == name_or_file)
      return parse_config(Json::parse(one.config), std::string(one.name));
  EMBERQ_REQUIRE(name_or_file.ends_with(".json"),
                 "--model {}: there are {}, or a config.json by its name", name_or_file,
                 fmt::join(published_configs(), ", "));
  return parse_config(read_json(name_or_file), name_or_file);
}

RandomModel::RandomModel(ModelConfig config, const Recipe& recipe)
    : config_(std::move(config)),
      recipe_(recipe),
      emberq_config_(emberq_config_of(config_, recipe)) {}

Tensor RandomModel::get(const std::string&, const std::vector<int64_t>& shape) const {
  Tensor& tensor = plain_[shape];
  if (!tensor) {
    int64_t count = 1;
    for (const int64_t extent : shape) count *= extent;
    const auto numbers = random_numbers(count, shape.size() == 1 ? 1.0f : 0x1p-6f, false);
    tensor = Tensor::copy_of(DType::kBF16, shape, std::span<const bf16>(numbers));
  }
  return tensor;
}

std::optional<QuantizedLinear> RandomModel::linear(const std::string& module, int64_t n,
                                                   int64_t k) const {
  const auto is_named = [&](Projection p) { return module.ends_with(name(p)); };
  const Projection projection = *std::ranges::find_if(kProjections, is_named);
  const auto& scheme = recipe_.weights[size_t(projection)];
  if (!scheme) return std::nullopt;
  const WeightScheme fitting = fitted(*scheme, k);
  QuantizedWeight& weight = codes_[{name(fitting), n, k}];
  if (!weight.packed) weight = random_codes(n, k, fitting);
  return QuantizedLinear{weight, fitted(recipe_.activations[size_t(input_of(projection))], k)};
}

}  // namespace emberq
