#include "checkpoint/compressed_tensors/config.h"

#include <algorithm>
#include <array>
#include <set>

#include "base/check.h"
#include "base/json.h"

namespace emberq {
namespace {

// The release whose layout this is, as `version` in what we write. (Before 0.17, codes of widths
// that do not divide 32 did not cross words.)
constexpr std::string_view kVersion = "0.18.0";

constexpr std::string_view kMethod = "compressed-tensors";
constexpr std::string_view kOwnMethod = "emberq";

// Whether compressed-tensors can say what the codes are.
bool is_common(const WeightScheme& scheme) {
  return scheme.code == WeightCode::kInt || (scheme.code == WeightCode::kFloat && scheme.bits == 8);
}

// naive-quantized is what float-quantized and int-quantized are called where inputs are not
// quantized.
WeightStorage parse_storage(const JsonObject& object, std::string_view key,
                            const WeightScheme& scheme) {
  const std::string format = object.get<std::string>(key);
  if (scheme.code == WeightCode::kFloat && scheme.bits == 8) {
    if (format == "float-quantized" || format == "naive-quantized")
      return WeightStorage::kFloatQuantized;
    object.reject(key, "must be float-quantized where weights are FP8");
  }
  if (format == "pack-quantized") return WeightStorage::kPackQuantized;
  if (scheme.code != WeightCode::kInt)
    object.reject(key, fmt::format("must be pack-quantized where weights are {}", name(scheme)));
  if (format == "int-quantized" || format == "naive-quantized") return WeightStorage::kIntQuantized;
  object.reject(key, "must be pack-quantized or int-quantized where weights are integers");
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

// A sparsity_config, which compressed-tensors of 2024 writes for every model. Its format "dense"
// says that no weight is stored sparsely.
void demand_dense(const JsonObject& config) {
  if (!config.has("sparsity_config")) return;
  const JsonObject sparsity = config.object("sparsity_config");
  if (!sparsity.json().empty() && sparsity.get<std::string>("format") != "dense")
    sparsity.reject("format", "must be dense");
}

// A QuantizationArgs: every key that it knows. Those not looked at elsewhere say how the numbers
// were found, not what they mean.
void check_args(const JsonObject& args) {
  args.allow_only({"num_bits", "type", "symmetric", "strategy", "group_size", "dynamic", "actorder",
                   "block_structure", "scale_dtype", "zp_dtype", "observer", "observer_kwargs"});
  demand_nothing(args, "block_structure");
}

// The scheme's code and bits; `own` where emberq's types are known too.
void parse_code(const JsonObject& args, bool own, WeightScheme& scheme) {
  const std::string type = args.get_or<std::string>("type", "int");
  const int bits = scheme.bits = args.get_or("num_bits", 8);
  if (type == "int") {
    scheme.code = WeightCode::kInt;
    if (bits < 2 || bits > 8) args.reject("num_bits", "must be 2 to 8 for integers");
  } else if (type == "float") {
    scheme.code = WeightCode::kFloat;
    if (bits != 8 && !(own && bits == 6))
      args.reject("num_bits", own ? "must be 6 or 8 for floats" : "must be 8 for floats");
  } else if (own && type == "lut") {
    scheme.code = WeightCode::kLut;
    if (bits != 4) args.reject("num_bits", "must be 4 for looked up codes");
  } else {
    args.reject("type", own ? "must be int, float or lut" : "must be int or float");
  }
}

WeightScheme parse_weights(const JsonObject& args, bool own) {
  check_args(args);
  WeightScheme scheme;
  parse_code(args, own, scheme);
  scheme.zero_point = !args.get_or("symmetric", true);
  if (scheme.zero_point && (scheme.code != WeightCode::kInt || scheme.bits != 4))
    args.reject("symmetric", "must be true for all but INT4");
  demand(args, "dynamic", false, false);
  // The order in which GPTQ went through the columns: with these the codes stay in theirs.
  const std::string order = args.get_or<std::string>("actorder", "weight");
  if (order != "weight" && order != "static")
    args.reject("actorder", "must be null, weight or static");

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
  demand(args, "symmetric", true, true);
  demand(args, "dynamic", true, false);
  const std::string type = args.get_or<std::string>("type", "int"),
                    strategy = args.get<std::string>("strategy");
  const int bits = args.get_or("num_bits", 8);
  if (type != "int" && type != "float") args.reject("type", "must be int or float");
  if (strategy == "group" && type == "int") {
    const int group_size = args.get<int>("group_size");
    if (std::ranges::find(kGroupSizes, group_size) == kGroupSizes.end())
      args.reject("group_size", fmt::format("must be one of {}", fmt::join(kGroupSizes, ", ")));
    if (bits != 8 && bits != 6) args.reject("num_bits", "must be 6 or 8");
    return {bits == 8 ? ActivationCode::kInt8 : ActivationCode::kInt6, group_size};
  }
  if (strategy != "token")
    args.reject("strategy", type == "int" ? "must be token or group" : "must be token");
  demand_nothing(args, "group_size");
  demand(args, "num_bits", 8, 8);
  return type == "int" ? ActivationScheme::kInt8Token : ActivationScheme::kFp8Token;
}

}  // namespace

QuantizationConfig::Target::Target(std::string target) : text(std::move(target)) {
  if (text.starts_with("re:"))
    pattern.emplace(std::string_view(text).substr(3), Regex::Syntax::kPython);
}

bool QuantizationConfig::Target::matches(std::string_view module) const {
  return pattern ? pattern->matches_start(module) : text == module || text == "Linear";
}

QuantizationConfig QuantizationConfig::parse(const JsonObject& config) {
  const std::string method = config.get<std::string>("quant_method");
  const bool own_types = method == kOwnMethod;
  if (!own_types && method != kMethod)
    config.reject("quant_method", fmt::format("must be {} or {}", kMethod, kOwnMethod));
  for (const std::string_view key : {"kv_cache_scheme", "transform_config"})
    demand_nothing(config, key);
  demand_dense(config);
  const bool mixed = config.get<std::string>("format") == "mixed-precision";

  QuantizationConfig result;
  const JsonObject groups = config.object("config_groups");
  for (const auto& [name, value] : groups.json().items()) {
    const JsonObject group = groups.object(name);
    group.allow_only({"targets", "weights", "input_activations", "output_activations", "format"});
    demand_nothing(group, "output_activations");
    const LinearScheme scheme = {parse_weights(group.object("weights"), own_types),
                                 parse_activations(group)};
    const bool own_format = mixed || group.has("format");
    result.groups_.push_back(
        {scheme, parse_storage(own_format ? group : config, "format", scheme.weight)});
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

WeightStorage storage_of(const WeightScheme& scheme) {
  if (scheme.bits != 8) return WeightStorage::kPackQuantized;
  if (scheme.code == WeightCode::kFloat) return WeightStorage::kFloatQuantized;
  return scheme.group_size ? WeightStorage::kPackQuantized : WeightStorage::kIntQuantized;
}

namespace {

std::string_view name(WeightStorage storage) {
  constexpr std::array<std::string_view, 3> kNames = {"pack-quantized", "int-quantized",
                                                      "float-quantized"};
  return kNames[size_t(storage)];
}

std::string_view type_name(WeightCode code) {
  return code == WeightCode::kInt ? "int" : code == WeightCode::kLut ? "lut" : "float";
}

OrderedJson or_null(int group_size) {
  return group_size ? OrderedJson(group_size) : OrderedJson(nullptr);
}

// Keys in the order in which compressed-tensors writes them.
OrderedJson weights_json(const WeightScheme& scheme) {
  return {{"num_bits", scheme.bits},
          {"type", type_name(scheme.code)},
          {"symmetric", !scheme.zero_point},
          {"strategy", scheme.group_size ? "group" : "channel"},
          {"group_size", or_null(scheme.group_size)},
          {"dynamic", false},
          {"actorder", nullptr},
          {"block_structure", nullptr},
          {"scale_dtype", nullptr},
          {"zp_dtype", scheme.zero_point ? OrderedJson("torch.int8") : OrderedJson(nullptr)},
          {"observer", "memoryless_minmax"},
          {"observer_kwargs", OrderedJson::object()}};
}

OrderedJson activations_json(ActivationScheme scheme) {
  if (scheme == ActivationScheme::kNone) return nullptr;
  return {{"num_bits", scheme.code == ActivationCode::kInt6 ? 6 : 8},
          {"type", scheme.code == ActivationCode::kFp8 ? "float" : "int"},
          {"symmetric", true},
          {"strategy", scheme.group_size ? "group" : "token"},
          {"group_size", or_null(scheme.group_size)},
          {"dynamic", true},
          {"actorder", nullptr},
          {"block_structure", nullptr},
          {"scale_dtype", nullptr},
          {"zp_dtype", nullptr},
          {"observer", nullptr},
          {"observer_kwargs", OrderedJson::object()}};
}

}  // namespace

OrderedJson quantization_config(const std::vector<std::pair<std::string, LinearScheme>>& linears,
                                const std::vector<std::string>& ignore, bool emberq_only) {
  std::vector<std::pair<LinearScheme, std::vector<std::string>>> groups;
  const auto is_head = [](const std::string& module) { return module == kHeadModule; };
  size_t of_blocks = 0;
  for (const auto& linear : linears) {
    const std::string& module = linear.first;
    const LinearScheme& scheme = linear.second;
    const bool head = is_head(module);
    auto group = std::ranges::find_if(groups, [&](const auto& g) {
      return g.first == scheme && !head && !is_head(g.second.front());
    });
    if (group == groups.end()) {
      group = groups.insert(group, {scheme, {}});
      of_blocks += head ? 0 : 1;
    }
    group->second.push_back(module);
  }
  OrderedJson group_json;
  std::set<std::string_view> formats;
  bool common = !emberq_only;
  for (size_t i = 0; i < groups.size(); ++i) {
    const auto& [scheme, modules] = groups[i];
    const std::string_view format = name(storage_of(scheme.weight));
    formats.insert(format);
    common = common && is_common(scheme.weight);
    group_json[fmt::format("group_{}", i)] = {
        {"targets", of_blocks == 1 && !is_head(modules.front()) ? OrderedJson::array({"Linear"})
                                                                : OrderedJson(modules)},
        {"format", format},
        {"weights", weights_json(scheme.weight)},
        {"input_activations", activations_json(scheme.activation)},
        {"output_activations", nullptr}};
  }
  return {{"quant_method", common ? kMethod : kOwnMethod},
          {"format", formats.size() == 1 ? *formats.begin() : "mixed-precision"},
          {"quantization_status", "compressed"},
          {"global_compression_ratio", nullptr},
          {"ignore", ignore},
          {"kv_cache_scheme", nullptr},
          {"config_groups", group_json},
          {"version", kVersion}};
}

}  // namespace emberq
