#include <algorithm>
#include <array>
#include <cmath>

#include "base/check.h"
#include "base/json.h"
#include "checkpoint/model_config.h"

namespace emberq {
namespace {

enum class Window { kNone, kEveryLayer, kUpperLayers };

// What sets a family apart, and what transformers takes where config.json says nothing. The
// defaults that all share stand where they are used.
struct Family {
  std::string_view architecture;
  std::string_view model_type;
  int64_t max_positions;
  int64_t num_kv_heads = 0;           // 0: as many as there are heads
  int64_t head_dim = 0;               // 0: hidden_size / num_heads
  bool qkv_bias = false;              // always
  bool reads_attention_bias = false;  // the key decides for q, k, v and o
  bool reads_mlp_bias = false;
  bool qk_norm = false;
  Window window = Window::kNone;
};

constexpr std::array kFamilies = {
    Family{.architecture = "LlamaForCausalLM",
           .model_type = "llama",
           .max_positions = 2048,
           .reads_attention_bias = true,
           .reads_mlp_bias = true},
    Family{.architecture = "MistralForCausalLM",
           .model_type = "mistral",
           .max_positions = 131072,
           .num_kv_heads = 8,
           .window = Window::kEveryLayer},
    Family{.architecture = "Qwen2ForCausalLM",
           .model_type = "qwen2",
           .max_positions = 32768,
           .num_kv_heads = 32,
           .qkv_bias = true,
           .window = Window::kUpperLayers},
    Family{.architecture = "Qwen3ForCausalLM",
           .model_type = "qwen3",
           .max_positions = 32768,
           .num_kv_heads = 32,
           .head_dim = 128,
           .reads_attention_bias = true,
           .qk_norm = true,
           .window = Window::kUpperLayers},
};

// Bounds far above every model, so that products of sizes cannot overflow.
constexpr int64_t kMaxSize = 1 << 24;
constexpr int64_t kMaxLayers = 1 << 12;

int64_t size(const JsonObject& config, std::string_view key, int64_t max = kMaxSize) {
  const int64_t value = config.get<int64_t>(key);
  if (value < 1 || value > max) config.reject(key, fmt::format("must be from 1 to {}", max));
  return value;
}

int64_t size_or(const JsonObject& config, std::string_view key, int64_t fallback) {
  return config.has(key) ? size(config, key) : fallback;
}

double positive(const JsonObject& config, std::string_view key) {
  const double value = config.get<double>(key);
  if (!(value > 0)) config.reject(key, "must be positive");
  return value;
}

// A checkpoint of the decoder without a head names itself LlamaModel, MistralModel, ...
std::string without_head(std::string_view architecture) {
  constexpr std::string_view kHead = "ForCausalLM";
  return std::string(architecture.substr(0, architecture.size() - kHead.size())) + "Model";
}

const Family& family_of(const JsonObject& config) {
  const Json& names = config.array("architectures");
  for (const Family& family : kFamilies) {
    if (names.size() != 1 ||
        (names[0] != family.architecture && names[0] != without_head(family.architecture)))
      continue;
    if (config.get<std::string>("model_type") != family.model_type)
      config.reject("model_type", fmt::format("must be \"{}\"", family.model_type));
    return family;
  }
  std::array<std::string_view, kFamilies.size()> known;
  std::ranges::transform(kFamilies, known.begin(), &Family::architecture);
  config.reject("architectures", fmt::format("must be one of {}", fmt::join(known, ", ")));
}

RopeConfig parse_rope(const JsonObject& config, int64_t max_positions) {
  const auto check_whole = [](const JsonObject& object) {
    if (object.get_or("partial_rotary_factor", 1.0) != 1)
      object.reject("partial_rotary_factor", "must be 1");
  };
  RopeConfig rope;
  check_whole(config);
  if (config.has("rope_theta")) rope.theta = positive(config, "rope_theta");
  if (config.has("rope_scaling") && config.has("rope_parameters") &&
      config.at("rope_scaling") != config.at("rope_parameters"))
    config.reject("rope_scaling", "must not differ from rope_parameters beside it");
  const std::string_view key = config.has("rope_scaling") ? "rope_scaling" : "rope_parameters";
  if (!config.has(key)) return rope;

  const JsonObject parameters = config.object(key);
  const std::string_view type_key = parameters.has("rope_type") ? "rope_type" : "type";
  const std::string type = parameters.get_or<std::string>(type_key, "default");
  constexpr std::array kTypes = {"default", "linear", "llama3"};  // in RopeType's order
  const auto found = std::ranges::find(kTypes, type);
  if (found == kTypes.end())
    parameters.reject(type_key, fmt::format("must be one of {}", fmt::join(kTypes, ", ")));
  rope.type = RopeType(found - kTypes.begin());

  // An object gives parameters to one type of layer. Other unknown keys belong to other types of
  // RoPE, and no model reads them here.
  for (const auto& [name, value] : parameters.json().items())
    if (value.is_object()) parameters.reject(name, "is not something emberq runs");
  check_whole(parameters);
  if (parameters.has("rope_theta")) rope.theta = positive(parameters, "rope_theta");
  if (rope.type == RopeType::kDefault) return rope;
  rope.factor = positive(parameters, "factor");
  if (rope.type == RopeType::kLinear) return rope;
  rope.low_freq_factor = positive(parameters, "low_freq_factor");
  rope.high_freq_factor = positive(parameters, "high_freq_factor");
  if (rope.high_freq_factor <= rope.low_freq_factor)
    parameters.reject("high_freq_factor", "must be greater than low_freq_factor");
  constexpr std::string_view kOriginal = "original_max_position_embeddings";
  rope.original_max_position_embeddings =
      size_or(config, kOriginal, size_or(parameters, kOriginal, max_positions));
  return rope;
}

// For each layer, 0 where it attends to everything.
std::vector<int64_t> parse_windows(const JsonObject& config, const Family& family,
                                   int64_t num_layers) {
  constexpr int64_t kDefaultWindow = 4096, kDefaultFirst = 28;
  std::vector<int64_t> windows(size_t(num_layers), 0);
  if (family.window == Window::kNone) return windows;
  if (family.window == Window::kUpperLayers && !config.get_or("use_sliding_window", false))
    return windows;
  const bool unsaid = !config.json().contains("sliding_window");  // null says: none
  const int64_t window = size_or(config, "sliding_window", unsaid ? kDefaultWindow : 0);

  if (config.has("layer_types")) {
    const auto types = config.get<std::vector<std::string>>("layer_types");
    if (types.size() != windows.size())
      config.reject("layer_types", fmt::format("must name {} layers", num_layers));
    for (size_t i = 0; i < windows.size(); ++i) {
      const bool sliding = types[i] == "sliding_attention";
      if (!sliding && types[i] != "full_attention")
        config.reject("layer_types", "must be full_attention or sliding_attention");
      windows[i] = sliding ? window : 0;
    }
    return windows;
  }
  const int64_t first = family.window == Window::kEveryLayer
                            ? 0
                            : config.get_or<int64_t>("max_window_layers", kDefaultFirst);
  for (int64_t i = std::max<int64_t>(first, 0); i < num_layers; ++i) windows[size_t(i)] = window;
  return windows;
}

// nullopt where the weights decide.
std::optional<DType> parse_dtype(const JsonObject& config) {
  const std::string_view key = config.has("dtype") ? "dtype" : "torch_dtype";
  std::string name = config.get_or<std::string>(key, "auto");
  if (name == "auto") return std::nullopt;
  if (name.starts_with("torch.")) name.erase(0, std::string_view("torch.").size());
  if (name == "bfloat16") return DType::kBF16;
  if (name == "float16") return DType::kF16;
  if (name == "float32") return DType::kF32;
  config.reject(key, "must be bfloat16, float16 or float32");
}

// One id or several.
std::vector<int> token_ids(const JsonObject& config, std::string_view key) {
  if (!config.has(key)) return {};
  std::vector<int> ids = config.at(key).is_array() ? config.get<std::vector<int>>(key)
                                                   : std::vector{config.get<int>(key)};
  if (std::ranges::any_of(ids, [](int id) { return id < 0; }))
    config.reject(key, "must not be negative");
  return ids;
}

void parse_sizes(const JsonObject& config, const Family& family, ModelConfig& model) {
  model.vocab_size = size(config, "vocab_size");
  model.hidden_size = size(config, "hidden_size");
  model.intermediate_size = size(config, "intermediate_size");
  model.num_layers = size(config, "num_hidden_layers", kMaxLayers);
  model.num_heads = size(config, "num_attention_heads");
  model.max_positions = size_or(config, "max_position_embeddings", family.max_positions);

  const bool unsaid = !config.json().contains("num_key_value_heads");  // null says: no grouping
  const int64_t kv_heads = unsaid && family.num_kv_heads ? family.num_kv_heads : model.num_heads;
  model.num_kv_heads = size_or(config, "num_key_value_heads", kv_heads);
  if (model.num_heads % model.num_kv_heads != 0)
    config.reject("num_key_value_heads",
                  fmt::format("must divide num_attention_heads, {}", model.num_heads));

  model.head_dim = size_or(config, "head_dim",
                           family.head_dim ? family.head_dim : model.hidden_size / model.num_heads);
  if (!config.has("head_dim") && !family.head_dim && model.hidden_size % model.num_heads != 0)
    config.reject("hidden_size",
                  fmt::format("must be a multiple of num_attention_heads, {}", model.num_heads));
  EMBERQ_REQUIRE(model.head_dim > 0 && model.head_dim % 2 == 0, "{}: head_dim must be even, got {}",
                 config.where(), model.head_dim);
}

}  // namespace

ModelConfig parse_config(const Json& json, const std::string& where) {
  const JsonObject config(json, where);
  const Family& family = family_of(config);
  ModelConfig model;
  model.model_type = family.model_type;
  model.architecture = config.array("architectures")[0].get<std::string>();
  const std::string activation = config.get_or<std::string>("hidden_act", "silu");
  if (activation != "silu" && activation != "swish")  // two names of one function
    config.reject("hidden_act", "must be \"silu\"");
  parse_sizes(config, family, model);
  if (config.has("rms_norm_eps")) model.rms_norm_eps = positive(config, "rms_norm_eps");
  model.rope = parse_rope(config, model.max_positions);
  model.tie_word_embeddings = config.get_or("tie_word_embeddings", false);
  model.o_bias = family.reads_attention_bias && config.get_or("attention_bias", false);
  model.qkv_bias = family.qkv_bias || model.o_bias;
  model.mlp_bias = family.reads_mlp_bias && config.get_or("mlp_bias", false);
  model.qk_norm = family.qk_norm;
  model.sliding_window = parse_windows(config, family, model.num_layers);
  model.dtype = parse_dtype(config);
  if (const auto bos = token_ids(config, "bos_token_id"); !bos.empty()) model.bos_id = bos[0];
  model.eos_ids = token_ids(config, "eos_token_id");
  return model;
}

}  // namespace emberq
