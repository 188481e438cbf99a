#include "checkpoint/compressed_tensors.h"

#include <algorithm>
#include <array>

#include "base/check.h"
#include "format/pack.h"

namespace emberq {
namespace {

// The release whose layout this is, as `version` in what we write. (Before 0.17, codes of widths
// that do not divide 32 did not cross words.)
constexpr std::string_view kVersion = "0.18.0";

WeightStorage parse_storage(const JsonObject& object, std::string_view key) {
  const std::string format = object.get<std::string>(key);
  if (format == "pack-quantized") return WeightStorage::kPackQuantized;
  if (format == "int-quantized") return WeightStorage::kIntQuantized;
  object.reject(key, "must be pack-quantized or int-quantized");
}

// The value of a key that has only one value which emberq runs.
template <class T>
void demand(const JsonObject& args, std::string_view key, const T& value, const T& fallback) {
  if (args.get_or<T>(key, fallback) != value)
    args.reject(key, fmt::format("must be {}", Json(value).dump()));
}

// transformers writes an empty object where there is nothing to say.
void demand_nothing(const JsonObject& object, std::string_view key) {
  if (object.has(key) && !object.at(key).empty())
    object.reject(key, "is not something emberq runs: it must be null");
}

// A QuantizationArgs: every key that it knows. Those not looked at elsewhere say how the numbers
// were found, not what they mean.
void check_args(const JsonObject& args) {
  args.allow_only({"num_bits", "type", "symmetric", "strategy", "group_size", "dynamic", "actorder",
                   "block_structure", "scale_dtype", "zp_dtype", "observer", "observer_kwargs"});
  demand(args, "symmetric", true, true);
  demand_nothing(args, "block_structure");
}

WeightScheme parse_weights(const JsonObject& args) {
  check_args(args);
  demand<std::string>(args, "type", "int", "int");
  demand(args, "dynamic", false, false);
  // The order in which GPTQ went through the columns: with these the codes stay in theirs.
  const std::string order = args.get_or<std::string>("actorder", "weight");
  if (order != "weight" && order != "static")
    args.reject("actorder", "must be null, weight or static");
  WeightScheme scheme;
  scheme.bits = args.get_or("num_bits", 8);
  if (scheme.bits != 4 && scheme.bits != 6 && scheme.bits != 8)
    args.reject("num_bits", "must be 4, 6 or 8");

  const std::string strategy = args.get_or<std::string>("strategy", "group");
  if (strategy != "group" && strategy != "channel")
    args.reject("strategy", "must be group or channel");
  scheme.group_size = 0;
  if (strategy == "group") {
    scheme.group_size = args.get<int>("group_size");
    if (scheme.group_size <= 0) args.reject("group_size", "must be positive");
  }
  return scheme;
}

ActivationScheme parse_activations(const JsonObject& group) {
  if (!group.has("input_activations")) return ActivationScheme::kNone;
  const JsonObject args = group.object("input_activations");
  check_args(args);
  demand(args, "num_bits", 8, 8);
  demand<std::string>(args, "type", "float", "int");
  demand<std::string>(args, "strategy", "token", "");
  demand(args, "dynamic", true, false);
  demand_nothing(args, "group_size");
  return ActivationScheme::kFp8Token;
}

}  // namespace

QuantizationConfig::Target::Target(std::string target) : text(std::move(target)) {
  if (text.starts_with("re:")) pattern.emplace(std::string_view(text).substr(3));
}

bool QuantizationConfig::Target::matches(std::string_view module) const {
  return pattern ? pattern->matches_start(module) : text == module || text == "Linear";
}

QuantizationConfig QuantizationConfig::parse(const JsonObject& config) {
  if (config.get<std::string>("quant_method") != "compressed-tensors")
    config.reject("quant_method", "must be compressed-tensors");
  for (const std::string_view key : {"kv_cache_scheme", "transform_config", "sparsity_config"})
    demand_nothing(config, key);
  const bool mixed = config.get<std::string>("format") == "mixed-precision";

  QuantizationConfig result;
  const JsonObject groups = config.object("config_groups");
  for (const auto& [name, value] : groups.json().items()) {
    const JsonObject group = groups.object(name);
    group.allow_only({"targets", "weights", "input_activations", "output_activations", "format"});
    demand_nothing(group, "output_activations");
    const LinearScheme scheme = {parse_weights(group.object("weights")), parse_activations(group)};
    const bool own = mixed || group.has("format");
    result.groups_.push_back({scheme, parse_storage(own ? group : config, "format")});
    for (const std::string& target : group.get<std::vector<std::string>>("targets"))
      result.targets_.emplace_back(Target(target), result.groups_.size() - 1);
  }
  std::ranges::stable_sort(result.targets_, {}, [](const auto& t) { return t.first.rank(); });
  for (const auto& target : config.get_or("ignore", std::vector<std::string>()))
    result.ignored_.emplace_back(target);
  return result;
}

const QuantizationConfig::Group* QuantizationConfig::find(std::string_view module) const {
  for (const Target& target : ignored_)
    if (target.matches(module)) return nullptr;
  for (const auto& [target, group] : targets_)
    if (target.matches(module)) return &groups_[group];
  return nullptr;
}

namespace {

// Keys in the order in which compressed-tensors writes them.
OrderedJson weights_json(const WeightScheme& scheme) {
  return {{"num_bits", scheme.bits},
          {"type", "int"},
          {"symmetric", true},
          {"strategy", "group"},
          {"group_size", scheme.group_size},
          {"dynamic", false},
          {"actorder", nullptr},
          {"block_structure", nullptr},
          {"scale_dtype", nullptr},
          {"zp_dtype", nullptr},
          {"observer", "memoryless_minmax"},
          {"observer_kwargs", OrderedJson::object()}};
}

OrderedJson activations_json(ActivationScheme scheme) {
  if (scheme == ActivationScheme::kNone) return nullptr;
  return {{"num_bits", 8},          {"type", "float"},
          {"symmetric", true},      {"strategy", "token"},
          {"group_size", nullptr},  {"dynamic", true},
          {"actorder", nullptr},    {"block_structure", nullptr},
          {"scale_dtype", nullptr}, {"zp_dtype", nullptr},
          {"observer", nullptr},    {"observer_kwargs", OrderedJson::object()}};
}

}  // namespace

OrderedJson quantization_config(const std::vector<std::pair<std::string, LinearScheme>>& linears,
                                const std::vector<std::string>& ignore) {
  std::vector<std::pair<LinearScheme, std::vector<std::string>>> groups;
  for (const auto& [module, scheme] : linears) {
    auto group = std::ranges::find(groups, scheme, [](const auto& g) { return g.first; });
    if (group == groups.end()) group = groups.insert(group, {scheme, {}});
    group->second.push_back(module);
  }
  OrderedJson group_json;
  for (size_t i = 0; i < groups.size(); ++i) {
    const auto& [scheme, modules] = groups[i];
    group_json[fmt::format("group_{}", i)] = {
        {"targets", groups.size() == 1 ? OrderedJson::array({"Linear"}) : OrderedJson(modules)},
        {"format", "pack-quantized"},
        {"weights", weights_json(scheme.weight)},
        {"input_activations", activations_json(scheme.activation)},
        {"output_activations", nullptr}};
  }
  return {{"quant_method", "compressed-tensors"},
          {"format", "pack-quantized"},
          {"quantization_status", "compressed"},
          {"global_compression_ratio", nullptr},
          {"ignore", ignore},
          {"kv_cache_scheme", nullptr},
          {"config_groups", group_json},
          {"version", kVersion}};
}

void add_quantized_weight(SafetensorsWriter& writer, const std::string& module,
                          const QuantizedWeight& weight) {
  const std::array<int64_t, 2> shape = {weight.n, weight.k};
  writer.add(module + ".weight_packed", weight.packed);
  writer.add(module + ".weight_scale", weight.scale);
  writer.add(module + ".weight_shape",
             Tensor::copy_of(DType::kI64, {2}, std::span<const int64_t>(shape)));
}

}  // namespace emberq
