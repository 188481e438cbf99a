#include "checkpoint/emberq_config.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <set>

#include "base/check.h"
#include "base/json.h"
#include "format/hadamard.h"

namespace emberq {
namespace {

constexpr int kFormatVersion = 1;

// The number that prints as x's shortest decimal, 0.1 and not 0.10000000149011612, and comes back
// as x.
double shortest(float x) {
  const std::string text = fmt::format("{}", x);
  double value = 0;
  std::from_chars(text.data(), text.data() + text.size(), value);
  return float(value) == x ? value : double(x);
}

// A scheme by its name; `parse` returns nullopt for an unknown one.
template <class Parse>
auto parse_scheme(const JsonObject& object, std::string_view key, const Parse& parse) {
  const auto scheme = parse(object.get<std::string>(key));
  if (!scheme) object.reject(key, "is not a scheme that emberq knows");
  return *scheme;
}

PostRopeScale parse_head(const JsonObject& head) {
  head.allow_only({"channels", "scale"});
  PostRopeScale result = {head.get<std::vector<int>>("channels"),
                          head.get<std::vector<float>>("scale")};
  if (result.scale.size() != result.channels.size())
    head.reject("scale", fmt::format("must hold {} numbers", result.channels.size()));
  for (const float s : result.scale)
    if (!(s > 0) || !std::isfinite(s)) head.reject("scale", "must be positive");
  const std::set<int> distinct(result.channels.begin(), result.channels.end());
  if (distinct.size() != result.channels.size()) head.reject("channels", "must not repeat");
  if (!distinct.empty() && *distinct.begin() < 0) head.reject("channels", "must not be negative");
  return result;
}

std::vector<std::vector<PostRopeScale>> parse_post_rope(const JsonObject& attention) {
  std::vector<std::vector<PostRopeScale>> result;
  const Json& layers = attention.array("post_rope_scale");
  for (size_t layer = 0; layer < layers.size(); ++layer) {
    result.emplace_back();
    if (!layers[layer].is_array())
      attention.reject("post_rope_scale", "must hold a list of heads for each layer");
    for (const Json& head : layers[layer])
      result.back().push_back(
          parse_head({head, fmt::format("{}: attention.post_rope_scale[{}][{}]", attention.where(),
                                        layer, result.back().size())}));
  }
  return result;
}

std::vector<std::vector<float>> parse_mean(const JsonObject& attention, std::string_view key) {
  std::vector<std::vector<float>> result;
  for (const Json& layer : attention.array(key)) {
    const std::string at = fmt::format("attention.{}[{}]", key, result.size());
    const Json named = {{at, layer}};
    const JsonObject object(named, attention.where());
    result.push_back(object.get<std::vector<float>>(at));
    if (!std::ranges::all_of(result.back(), [](float x) { return std::isfinite(x); }))
      object.reject(at, "must be finite");
  }
  return result;
}

AttentionScheme parse_attention(const JsonObject& attention) {
  attention.allow_only(
      {"kv", "query", "probability", "post_rope_scale", "hadamard", "key_mean", "value_mean"});
  AttentionScheme scheme;
  scheme.kv = parse_scheme(attention, "kv", kv_scheme_from_name);
  scheme.query = parse_scheme(attention, "query", query_scheme_from_name);
  if (attention.has("probability"))
    scheme.probability = parse_scheme(attention, "probability", probability_scheme_from_name);
  if (attention.has("post_rope_scale")) scheme.post_rope = parse_post_rope(attention);
  scheme.hadamard = attention.get_or("hadamard", false);
  if (attention.has("key_mean")) scheme.key_mean = parse_mean(attention, "key_mean");
  if (attention.has("value_mean")) scheme.value_mean = parse_mean(attention, "value_mean");
  return scheme;
}

std::map<std::string, float> parse_global_scale(const JsonObject& scales) {
  std::map<std::string, float> result;
  for (const auto& [module, value] : scales.json().items()) {
    const float p = scales.get<float>(module);
    int exponent = 0;
    if (!(p > 0) || !std::isfinite(p) || std::frexp(p, &exponent) != 0.5f)
      scales.reject(module, "must be a power of two");
    result[module] = p;
  }
  return result;
}

}  // namespace

EmberqConfig parse_emberq_config(const OrderedJson& ordered, const std::string& where) {
  const Json json = ordered;
  const JsonObject file(json, where);
  if (file.get<int>("format_version") != kFormatVersion)
    file.reject("format_version", fmt::format("must be {}", kFormatVersion));
  file.allow_only(
      {"format_version", "recipe", "dequant_dtype", "global_scale", "attention", "down_hadamard"});
  EmberqConfig result;
  if (file.has("recipe")) result.recipe = ordered.at("recipe").dump();
  if (file.has("dequant_dtype")) {
    if (file.get<std::string>("dequant_dtype") != "e4m3")
      file.reject("dequant_dtype", "must be \"e4m3\"");
    result.dequant = Dequant::kE4m3;
  }
  if (file.has("global_scale")) {
    if (result.dequant != Dequant::kE4m3)
      file.reject("global_scale", "has no meaning without dequant_dtype");
    result.global_scale = parse_global_scale(file.object("global_scale"));
  }
  if (file.has("attention")) result.attention = parse_attention(file.object("attention"));
  if (file.has("down_hadamard")) {
    result.down_hadamard = file.get<int>("down_hadamard");
    if (result.down_hadamard < 2 || !is_power_of_two(result.down_hadamard))
      file.reject("down_hadamard", "must be a power of two above 1");
  }
  return result;
}

namespace {

OrderedJson to_json(const std::vector<float>& values) {
  OrderedJson json = OrderedJson::array();
  for (const float x : values) json.push_back(shortest(x));
  return json;
}

OrderedJson to_json(const AttentionScheme& attention) {
  OrderedJson json = {{"kv", name(attention.kv)}, {"query", name(attention.query)}};
  if (attention.probability != ProbabilityScheme::kNone)
    json["probability"] = name(attention.probability);
  for (const auto& layer : attention.post_rope) {
    OrderedJson heads = OrderedJson::array();
    for (const PostRopeScale& head : layer)
      heads.push_back({{"channels", head.channels}, {"scale", to_json(head.scale)}});
    json["post_rope_scale"].push_back(heads);
  }
  if (attention.hadamard) json["hadamard"] = true;
  for (const auto& layer : attention.key_mean) json["key_mean"].push_back(to_json(layer));
  for (const auto& layer : attention.value_mean) json["value_mean"].push_back(to_json(layer));
  return json;
}

}  // namespace

OrderedJson to_json(const EmberqConfig& emberq_config) {
  OrderedJson json = {{"format_version", kFormatVersion}, {"recipe", nullptr}};
  if (!emberq_config.recipe.empty()) json["recipe"] = OrderedJson::parse(emberq_config.recipe);
  if (emberq_config.dequant == Dequant::kE4m3) {
    json["dequant_dtype"] = "e4m3";
    for (const auto& [module, p] : emberq_config.global_scale)
      json["global_scale"][module] = shortest(p);
  }
  json["attention"] = to_json(emberq_config.attention);
  if (emberq_config.down_hadamard) json["down_hadamard"] = emberq_config.down_hadamard;
  return json;
}

}  // namespace emberq
