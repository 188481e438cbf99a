#include "checkpoint/side_file.h"

#include <charconv>
#include <cmath>
#include <set>

#include "base/check.h"

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

AttentionScheme parse_attention(const JsonObject& attention) {
  attention.allow_only({"kv", "query", "post_rope_scale"});
  AttentionScheme scheme;
  scheme.kv = parse_scheme(attention, "kv", kv_scheme_from_name);
  scheme.query = parse_scheme(attention, "query", query_scheme_from_name);
  if (!attention.has("post_rope_scale")) return scheme;
  const Json& layers = attention.array("post_rope_scale");
  for (size_t layer = 0; layer < layers.size(); ++layer) {
    scheme.post_rope.emplace_back();
    if (!layers[layer].is_array())
      attention.reject("post_rope_scale", "must hold a list of heads for each layer");
    for (const Json& head : layers[layer])
      scheme.post_rope.back().push_back(
          parse_head({head, fmt::format("{}: attention.post_rope_scale[{}][{}]", attention.where(),
                                        layer, scheme.post_rope.back().size())}));
  }
  return scheme;
}

std::map<std::string, float> parse_per_tensor_scale(const JsonObject& scales) {
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

SideFile parse_side_file(const OrderedJson& ordered, const std::string& where) {
  const Json json = ordered;
  const JsonObject file(json, where);
  if (file.get<int>("format_version") != kFormatVersion)
    file.reject("format_version", fmt::format("must be {}", kFormatVersion));
  file.allow_only({"format_version", "recipe", "weight_product", "per_tensor_scale", "attention"});
  SideFile result;
  if (file.has("recipe")) result.recipe = ordered.at("recipe");
  if (file.has("weight_product")) {
    if (file.get<std::string>("weight_product") != "e4m3")
      file.reject("weight_product", "must be \"e4m3\"");
    result.product = WeightProduct::kE4m3;
  }
  if (file.has("per_tensor_scale")) {
    if (result.product != WeightProduct::kE4m3)
      file.reject("per_tensor_scale", "has no meaning without weight_product");
    result.per_tensor_scale = parse_per_tensor_scale(file.object("per_tensor_scale"));
  }
  if (file.has("attention")) result.attention = parse_attention(file.object("attention"));
  return result;
}

OrderedJson to_json(const SideFile& side_file) {
  OrderedJson json = {{"format_version", kFormatVersion}, {"recipe", side_file.recipe}};
  if (side_file.product == WeightProduct::kE4m3) {
    json["weight_product"] = "e4m3";
    for (const auto& [module, p] : side_file.per_tensor_scale)
      json["per_tensor_scale"][module] = shortest(p);
  }
  OrderedJson attention = {{"kv", name(side_file.attention.kv)},
                           {"query", name(side_file.attention.query)}};
  for (const auto& layer : side_file.attention.post_rope) {
    OrderedJson heads = OrderedJson::array();
    for (const PostRopeScale& head : layer) {
      OrderedJson scale = OrderedJson::array();
      for (const float s : head.scale) scale.push_back(shortest(s));
      heads.push_back({{"channels", head.channels}, {"scale", scale}});
    }
    attention["post_rope_scale"].push_back(heads);
  }
  json["attention"] = attention;
  return json;
}

}  // namespace emberq
