#include "quant/recipe.h"

#include <algorithm>
#include <cmath>

#include "base/check.h"

namespace emberq {
namespace {

constexpr std::string_view kFireq = R"({
  "name": "fireq",
  "smoothing": {"v_mul": 0.9, "up_gate": "mean", "down": "mean",
                "pre_rope": {"alpha": 8}, "post_rope": {"beta": 8, "top_k": 8}},
  "weights": "int4-g128-e4m3", "activations": "fp8-token", "kv": "kv4-head", "query": "fp8-head"})";

constexpr std::string_view kFireqUnsmoothed = R"({
  "name": "fireq-unsmoothed",
  "weights": "int4-g128-e4m3", "activations": "fp8-token", "kv": "kv4-head", "query": "fp8-head"})";

constexpr std::string_view kFireqW4 = R"({"name": "fireq-w4", "weights": "int4-g128-e4m3"})";

constexpr std::string_view kKv4 = R"({"name": "kv4", "kv": "kv4-head"})";

constexpr std::string_view kFireqKv4 = R"({
  "name": "fireq-kv4",
  "smoothing": {"pre_rope": {"alpha": 8}, "post_rope": {"beta": 8, "top_k": 8}}, "kv": "kv4-head"})";

constexpr std::string_view kFireqSmoothing = R"({
  "name": "fireq-smoothing",
  "smoothing": {"v_mul": 0.9, "up_gate": "mean", "down": "mean",
                "pre_rope": {"alpha": 8}, "post_rope": {"beta": 8, "top_k": 8}}})";

double positive(const JsonObject& object, std::string_view key, double fallback) {
  const double value = object.get_or(key, fallback);
  if (!(value > 0 && std::isfinite(value))) object.reject(key, "must be a positive number");
  return value;
}

std::optional<ChannelScale> channel_scale(const JsonObject& smoothing, std::string_view key) {
  if (!smoothing.has(key)) return std::nullopt;
  const Json& value = smoothing.at(key);
  if (value == "mean") return ChannelScale{};
  if (!value.is_number()) smoothing.reject(key, "must be \"mean\", a positive number or null");
  return ChannelScale{positive(smoothing, key, 0)};
}

// `from_name` of the key's string, or the fallback where it is absent.
template <class Scheme>
Scheme scheme(const JsonObject& object, std::string_view key, Scheme fallback,
              std::optional<Scheme> (*from_name)(std::string_view), std::string_view known) {
  if (!object.has(key)) return fallback;
  const auto found = from_name(object.get<std::string>(key));
  if (!found) object.reject(key, fmt::format("must be {}", known));
  return *found;
}

void parse_smoothing(const JsonObject& smoothing, Recipe& recipe) {
  smoothing.allow_only({"v_mul", "qkv", "o", "up_gate", "down", "pre_rope", "post_rope"});
  recipe.v_mul = positive(smoothing, "v_mul", 1);
  recipe.qkv = channel_scale(smoothing, "qkv");
  recipe.o = channel_scale(smoothing, "o");
  recipe.up_gate = channel_scale(smoothing, "up_gate");
  recipe.down = channel_scale(smoothing, "down");
  if (smoothing.has("pre_rope")) {
    const JsonObject pre = smoothing.object("pre_rope");
    pre.allow_only({"alpha"});
    recipe.pre_rope = Recipe::PreRope{.alpha = positive(pre, "alpha", 8)};
  }
  if (smoothing.has("post_rope")) {
    const JsonObject post = smoothing.object("post_rope");
    post.allow_only({"beta", "top_k"});
    recipe.post_rope =
        Recipe::PostRope{.beta = positive(post, "beta", 8), .top_k = post.get_or("top_k", 8)};
    if (recipe.post_rope->top_k < 1) post.reject("top_k", "must be at least 1");
  }
}

std::optional<WeightScheme> parse_weights(const JsonObject& object) {
  if (!object.has("weights") || object.at("weights") == "none") return std::nullopt;
  const auto found = weight_scheme_from_name(object.get<std::string>("weights"));
  if (!found || found->bits != 4 ||
      (found->group_size != 32 && found->group_size != 64 && found->group_size != 128))
    object.reject(
        "weights",
        "must be \"none\", or \"int4-gN\" or \"int4-gN-e4m3\" with a group N of 32, 64 or 128");
  return found;
}

OrderedJson to_json(const std::optional<ChannelScale>& scale) {
  if (!scale) return nullptr;
  return scale->constant ? OrderedJson(*scale->constant) : OrderedJson("mean");
}

}  // namespace

Recipe parse_recipe(const Json& json, const std::string& where) {
  const JsonObject object(json, where);
  object.allow_only({"name", "smoothing", "weights", "activations", "kv", "query"});
  Recipe recipe;
  recipe.name = object.get<std::string>("name");
  if (object.has("smoothing")) parse_smoothing(object.object("smoothing"), recipe);
  recipe.weights = parse_weights(object);
  recipe.activations = scheme(object, "activations", ActivationScheme::kNone,
                              activation_scheme_from_name, "\"none\" or \"fp8-token\"");
  recipe.kv = scheme(object, "kv", KvScheme::kFp, kv_scheme_from_name, "\"fp\" or \"kv4-head\"");
  recipe.query = scheme(object, "query", QueryScheme::kNone, query_scheme_from_name,
                        "\"none\" or \"fp8-head\"");
  if (recipe.activations != ActivationScheme::kNone && !recipe.weights)
    object.reject("activations", "must be \"none\" where weights are");
  return recipe;
}

OrderedJson to_json(const Recipe& recipe) {
  OrderedJson smoothing = {{"v_mul", recipe.v_mul},        {"qkv", to_json(recipe.qkv)},
                           {"o", to_json(recipe.o)},       {"up_gate", to_json(recipe.up_gate)},
                           {"down", to_json(recipe.down)}, {"pre_rope", nullptr},
                           {"post_rope", nullptr}};
  if (recipe.pre_rope) smoothing["pre_rope"] = {{"alpha", recipe.pre_rope->alpha}};
  if (recipe.post_rope)
    smoothing["post_rope"] = {{"beta", recipe.post_rope->beta}, {"top_k", recipe.post_rope->top_k}};
  return {{"name", recipe.name},
          {"smoothing", smoothing},
          {"weights", recipe.weights ? name(*recipe.weights) : "none"},
          {"activations", name(recipe.activations)},
          {"kv", name(recipe.kv)},
          {"query", name(recipe.query)}};
}

std::vector<BuiltinRecipe> builtin_recipes() {
  return {
      {"fireq", "W4A8-FP8 KV4 with all smoothing, as published", kFireq},
      {"fireq-unsmoothed", "the same with no smoothing", kFireqUnsmoothed},
      {"fireq-w4", "FireQ's weight rounding alone", kFireqW4},
      {"kv4", "the INT4 KV cache alone", kKv4},
      {"fireq-kv4", "the INT4 KV cache with N and S", kFireqKv4},
      {"fireq-smoothing", "FireQ's smoothing alone, nothing rounded", kFireqSmoothing},
  };
}

Recipe find_recipe(const std::string& name_or_file) {
  const auto recipes = builtin_recipes();
  for (const BuiltinRecipe& recipe : recipes)
    if (recipe.name == name_or_file)
      return parse_recipe(parse_json(recipe.json, recipe.name), std::string(recipe.name));
  if (name_or_file.ends_with(".json")) return parse_recipe(read_json(name_or_file), name_or_file);
  std::string known;
  for (const BuiltinRecipe& recipe : recipes) known += fmt::format("{}, ", recipe.name);
  throw InputError(
      fmt::format("there is no recipe {}: name one of {}or a .json file", name_or_file, known));
}

}  // namespace emberq
