#include "apps/random_model.h"

#include <algorithm>
#include <array>

#include "base/check.h"
#include "base/json.h"
#include "bench/operands.h"
#include "checkpoint/compressed_tensors/write.h"
#include "checkpoint/shard_writer.h"
#include "format/bf16.h"
#include "format/pack.h"
#include "model/parameters.h"
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
  auto scales = random_numbers(n * groups, 0x1p-10f, true);
  // Of a product in e4m3, scales of three bits, which are e4m3 numbers over a power of two.
  const bool product = scheme.dequant == Dequant::kE4m3;
  if (product)
    for (bf16& scale : scales) scale.bits &= 0xfff0;
  QuantizedWeight weight{
      .scheme = scheme,
      .n = n,
      .k = k,
      .packed = Tensor::copy_of(DType::kI32, {n, words}, std::span<const uint32_t>(packed)),
      .scale = Tensor::copy_of(DType::kBF16, {n, groups}, std::span<const bf16>(scales)),
      .global_scale = product ? 0x1p8f : 1};
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

OrderedJson published_config(const std::string& name_or_file) {
  for (const Published& one : kPublished)
    if (one.name == name_or_file) return OrderedJson::parse(one.config);
  EMBERQ_REQUIRE(name_or_file.ends_with(".json"),
                 "--model {}: there are {}, or a config.json by its name", name_or_file,
                 fmt::join(published_configs(), ", "));
  return read_ordered_json(name_or_file);
}

RandomModel::RandomModel(const OrderedJson& config, const Recipe& recipe)
    : config_json_(config.dump(2)),
      config_(parse_config(Json::parse(config_json_), "the model's config.json")),
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

std::optional<LinearScheme> RandomModel::scheme(Projection projection) const {
  const auto& weight = recipe_.weights[size_t(projection)];
  if (!weight) return std::nullopt;
  const int64_t k = inputs(config_, projection);
  return LinearScheme{fitted(*weight, k),
                      fitted(recipe_.activations[size_t(input_of(projection))], k)};
}

std::optional<QuantizedLinear> RandomModel::linear(const std::string& module, int64_t n,
                                                   int64_t k) const {
  if (module == kHeadModule) {
    if (!recipe_.lm_head) return std::nullopt;
    return QuantizedLinear{codes(n, k, *recipe_.lm_head)};
  }
  const auto is_named = [&](Projection p) { return module.ends_with(name(p)); };
  const auto stored = scheme(*std::ranges::find_if(kProjections, is_named));
  if (!stored) return std::nullopt;
  return QuantizedLinear{codes(n, k, stored->weight), stored->activation};
}

const QuantizedWeight& RandomModel::codes(int64_t n, int64_t k, const WeightScheme& scheme) const {
  QuantizedWeight& weight = codes_[{name(scheme), n, k}];
  if (!weight.packed) weight = random_codes(n, k, scheme);
  return weight;
}

void RandomModel::save(const fs::path& folder) const {
  OutputDirectory output(folder);
  SafetensorsWriter writer(output.partial());
  std::vector<std::pair<std::string, LinearScheme>> linears;
  std::vector<std::string> ignored;
  EmberqConfig around = emberq_config_;
  around.recipe = to_json(recipe_).dump();
  const auto add = [&](const std::string& name, const Parameter& parameter) {
    writer.add(name, get(name, parameter.shape(config_)));
  };
  const auto add_weight = [&](int64_t layer, const Parameter& parameter) {
    const std::string module = linear_name(layer, parameter.module);
    const auto stored = scheme(parameter.module);
    if (!stored) {
      ignored.push_back(module);
      return add(layer_tensor(layer, parameter.name), parameter);
    }
    QuantizedWeight weight =
        linear(module, parameter.rows(config_), parameter.columns(config_))->weight;
    weight.scheme = stored->weight;
    for (const auto& [name, tensor] : quantized_tensors(module, weight)) writer.add(name, tensor);
    linears.emplace_back(module, *stored);
    if (stored->weight.dequant != Dequant::kExact) around.dequant = stored->weight.dequant;
    if (weight.global_scale != 1) around.global_scale[module] = weight.global_scale;
  };
  add(std::string(kEmbedding.name), kEmbedding);
  if (recipe_.lm_head) {
    const QuantizedWeight& head = codes(config_.vocab_size, config_.hidden_size, *recipe_.lm_head);
    for (const auto& [name, tensor] : quantized_tensors(std::string(kHeadModule), head))
      writer.add(name, tensor);
    linears.emplace_back(kHeadModule, LinearScheme{*recipe_.lm_head});
  } else {
    ignored.emplace_back(kHeadModule);
    if (has_own_head()) add(std::string(kHead.name), kHead);
  }
  add(std::string(kFinalNorm.name), kFinalNorm);
  for (int64_t layer = 0; layer < config_.num_layers; ++layer)
    for (const Parameter& parameter : layer_parameters()) {
      if (!parameter.present(config_)) continue;
      if (parameter.kind == ParameterKind::kWeight)
        add_weight(layer, parameter);
      else
        add(layer_tensor(layer, parameter.name), parameter);
    }
  writer.finish();
  OrderedJson config = OrderedJson::parse(config_json_);
  if (!linears.empty())
    config["quantization_config"] = quantization_config(linears, ignored, around.down_hadamard > 0);
  write_text(output.partial() / "config.json", config.dump(2) + "\n");
  write_text(output.partial() / kEmberqConfigName, to_json(around).dump() + "\n");
  output.commit();
}

}  // namespace emberq
