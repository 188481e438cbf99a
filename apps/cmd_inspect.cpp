#include <fmt/format.h>

#include <map>

#include "apps/app.h"
#include "base/json.h"
#include "base/print.h"
#include "base/table.h"
#include "model/model.h"
#include "model/weight_size.h"

namespace emberq {
namespace {

struct InspectArguments {
  std::string model;
  bool json = false;
};

// What a linear is stored as: "int4-g128-e4m3, fp8-token inputs" or its dtype.
std::string scheme_of(const Checkpoint& checkpoint, const std::string& linear) {
  if (const auto scheme = checkpoint.linear_scheme(linear)) {
    std::string text = name(scheme->weight);
    if (scheme->activation != ActivationScheme::kNone)
      text += fmt::format(", {} inputs", name(scheme->activation));
    return text;
  }
  return std::string(name(checkpoint.get(linear + std::string(kWeightSuffix)).dtype()));
}

std::string_view name(RopeType type) {
  switch (type) {
    case RopeType::kDefault:
      return "default";
    case RopeType::kLinear:
      return "linear";
    case RopeType::kLlama3:
      return "llama3";
  }
  return "";
}

OrderedJson config_json(const ModelConfig& c) {
  return {{"architecture", c.architecture},
          {"vocab_size", c.vocab_size},
          {"hidden_size", c.hidden_size},
          {"intermediate_size", c.intermediate_size},
          {"num_layers", c.num_layers},
          {"num_heads", c.num_heads},
          {"num_kv_heads", c.num_kv_heads},
          {"head_dim", c.head_dim},
          {"max_positions", c.max_positions},
          {"rope_type", name(c.rope.type)},
          {"rope_theta", c.rope.theta},
          {"sliding_window", c.sliding_window},
          {"tie_word_embeddings", c.tie_word_embeddings},
          {"dtype", c.dtype ? OrderedJson(emberq::name(*c.dtype)) : OrderedJson(nullptr)}};
}

OrderedJson recipe_json(const EmberqConfig& emberq_config) {
  return emberq_config.recipe.empty() ? OrderedJson(nullptr)
                                      : OrderedJson::parse(emberq_config.recipe);
}

OrderedJson describe(const Checkpoint& checkpoint) {
  const ModelConfig& config = checkpoint.config();
  const AttentionScheme& attention = checkpoint.attention();
  OrderedJson tensors = OrderedJson::array();
  for (const std::string& tensor_name : checkpoint.names()) {
    const StoredTensor tensor = checkpoint.stored(tensor_name);
    tensors.push_back({{"name", tensor_name},
                       {"dtype", tensor.type},
                       {"shape", tensor.shape},
                       {"bytes", tensor.bytes.size()}});
  }
  OrderedJson linears = OrderedJson::object();
  for (int64_t layer = 0; layer < config.num_layers; ++layer)
    for (const Projection module : kProjections)
      linears[linear_name(layer, module)] = scheme_of(checkpoint, linear_name(layer, module));
  return {{"folder", checkpoint.folder().string()},
          {"config", config_json(config)},
          {"linear_parameters", linear_parameters(config)},
          {"bits_per_weight", bits_per_weight(checkpoint)},
          {"file_bytes", checkpoint.file_bytes()},
          {"quantized", checkpoint.is_quantized()},
          {"recipe", recipe_json(checkpoint.emberq_config())},
          {"kv", emberq::name(attention.kv)},
          {"query", emberq::name(attention.query)},
          {"probability", emberq::name(attention.probability)},
          {"post_rope_scale", !attention.post_rope.empty()},
          {"hadamard", attention.hadamard},
          {"key_mean", !attention.key_mean.empty()},
          {"value_mean", !attention.value_mean.empty()},
          {"down_hadamard", checkpoint.emberq_config().down_hadamard},
          {"kv_bytes_per_token", kv_bytes_per_token(checkpoint)},
          {"linears", linears},
          {"lm_head", checkpoint.has_own_head()
                          ? OrderedJson(scheme_of(checkpoint, std::string(kHeadModule)))
                          : OrderedJson(nullptr)},
          {"tensors", tensors}};
}

// Linears of all layers that share a name and a scheme, on one line; and a head of its own.
void print_linears(const ModelConfig& config, const OrderedJson& linears, const OrderedJson& head) {
  std::vector<std::vector<std::string>> rows = {{"linear", "shape", "layers", "scheme"}};
  for (const Projection module : kProjections) {
    std::map<std::string, std::vector<int64_t>> layers_of;
    for (int64_t layer = 0; layer < config.num_layers; ++layer)
      layers_of[linears[linear_name(layer, module)].get<std::string>()].push_back(layer);
    for (const auto& [scheme, layers] : layers_of)
      rows.push_back({std::string(emberq::name(module)),
                      fmt::format("{} x {}", outputs(config, module), inputs(config, module)),
                      int64_t(layers.size()) == config.num_layers
                          ? "all"
                          : fmt::format("{}", fmt::join(layers, ",")),
                      scheme});
  }
  if (!head.is_null())
    rows.push_back({std::string(kHeadModule),
                    fmt::format("{} x {}", config.vocab_size, config.hidden_size), "-",
                    head.get<std::string>()});
  print_out("\n{}", format_table(rows));
}

void run(const InspectArguments& options) {
  const Checkpoint checkpoint = Checkpoint::open(options.model);
  const OrderedJson json = describe(checkpoint);
  if (options.json) return print_json(json);

  std::vector<std::vector<std::string>> rows = {{"property", "value"}};
  const auto text = [](const OrderedJson& value) {
    return value.is_string() ? value.get<std::string>() : value.dump();
  };
  for (const auto& [key, value] : json["config"].items()) rows.push_back({key, text(value)});
  for (const char* key : {"linear_parameters", "bits_per_weight", "file_bytes", "kv", "query",
                          "probability", "kv_bytes_per_token"})
    rows.push_back({key, text(json[key])});
  if (json["recipe"].contains("name")) rows.push_back({"recipe", text(json["recipe"]["name"])});
  print_out("{}", format_table(rows));
  print_linears(checkpoint.config(), json["linears"], json["lm_head"]);
  std::vector<std::vector<std::string>> tensors = {{"tensor", "dtype", "shape", "bytes"}};
  for (const auto& tensor : json["tensors"])
    tensors.push_back({text(tensor["name"]), text(tensor["dtype"]), text(tensor["shape"]),
                       text(tensor["bytes"])});
  print_out("\n{}", format_table(tensors));
}

}  // namespace

void add_inspect(Command& app) {
  Command command =
      app.subcommand("inspect", "Configuration, tensors, sizes and the scheme of every layer");
  const auto options = std::make_shared<InspectArguments>();
  command.option("MODEL", options->model, "A Hugging Face model folder").required();
  command.flag("--json", options->json,
               "Print one JSON object: config, sizes, schemes, linears and tensors");
  command.action([options] { run(*options); });
}

}  // namespace emberq
