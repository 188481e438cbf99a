#include "quant/recipe/recipe.h"

#include <algorithm>
#include <cmath>

#include "base/check.h"
#include "base/json.h"

namespace emberq {
namespace {

double positive(const JsonObject& object, std::string_view key, double fallback) {
  const double value = object.get_or(key, fallback);
  if (!(value > 0 && std::isfinite(value))) object.reject(key, "must be a positive number");
  return value;
}

double fraction(const JsonObject& object, std::string_view key, double fallback) {
  const double value = object.get_or(key, fallback);
  if (!(value >= 0 && value <= 1)) object.reject(key, "must be a number of 0 to 1");
  return value;
}

std::optional<ChannelScale> channel_scale(const JsonObject& smoothing, std::string_view key) {
  using Rule = ChannelScale::Rule;
  if (!smoothing.has(key)) return std::nullopt;
  const Json& value = smoothing.at(key);
  if (value == "mean") return ChannelScale{};
  if (value == "search") return ChannelScale{.rule = Rule::kSearch};
  if (value.is_number()) return ChannelScale{.constant = positive(smoothing, key, 0)};
  if (!value.is_object())
    smoothing.reject(key,
                     "must be \"mean\", a positive number, \"search\", {\"rms_balance\": power}, "
                     "{\"smoothquant\": power} or null");
  const JsonObject rule = smoothing.object(key);
  rule.allow_only({"rms_balance", "smoothquant"});
  const bool maximum = rule.has("smoothquant");
  return ChannelScale{.rule = maximum ? Rule::kMaximum : Rule::kBalance,
                      .power = fraction(rule, maximum ? "smoothquant" : "rms_balance", 0.5)};
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

Recipe::PreRope parse_pre_rope(const JsonObject& pre) {
  using Rule = Recipe::PreRope::Rule;
  pre.allow_only({"alpha", "rms_balance", "smoothquant"});
  if (pre.has("rms_balance"))
    return {.rule = Rule::kBalance, .power = fraction(pre, "rms_balance", 0.5)};
  if (pre.has("smoothquant"))
    return {.rule = Rule::kMaximum, .power = fraction(pre, "smoothquant", 0.5)};
  return {.alpha = positive(pre, "alpha", 8)};
}

void parse_smoothing(const JsonObject& smoothing, Recipe& recipe) {
  smoothing.allow_only({"value_scale", "qkv", "o", "gate_up", "down", "pre_rope", "post_rope"});
  recipe.value_scale = positive(smoothing, "value_scale", 1);
  recipe.qkv = channel_scale(smoothing, "qkv");
  recipe.o = channel_scale(smoothing, "o");
  recipe.gate_up = channel_scale(smoothing, "gate_up");
  recipe.down = channel_scale(smoothing, "down");
  if (smoothing.has("pre_rope")) recipe.pre_rope = parse_pre_rope(smoothing.object("pre_rope"));
  if (smoothing.has("post_rope")) {
    const JsonObject post = smoothing.object("post_rope");
    post.allow_only({"beta", "top_k"});
    recipe.post_rope =
        Recipe::PostRope{.beta = positive(post, "beta", 8), .top_k = post.get_or("top_k", 8)};
    if (recipe.post_rope->top_k < 1) post.reject("top_k", "must be at least 1");
  }
}

void parse_rotation(const JsonObject& rotation, Recipe& recipe) {
  rotation.allow_only({"residual", "values", "keys", "down"});
  recipe.rotation = {.residual = rotation.get_or("residual", false),
                     .values = rotation.get_or("values", false),
                     .keys = rotation.get_or("keys", false),
                     .down = rotation.get_or("down", 0)};
  if (recipe.rotation.down < 0) rotation.reject("down", "must not be negative");
}

void parse_rounding(const JsonObject& rounding, Recipe& recipe) {
  rounding.allow_only({"method", "scale", "dampening_frac", "input_correction",
                       "residual_correction", "refinements"});
  const std::string method = rounding.get_or<std::string>("method", "rtn");
  if (method != "rtn" && method != "gptq") rounding.reject("method", "must be \"rtn\" or \"gptq\"");
  const std::string rule = rounding.get_or<std::string>("scale", "absmax");
  if (rule != "absmax" && rule != "least-squares")
    rounding.reject("scale", "must be \"absmax\" or \"least-squares\"");
  const GptqOptions usual;
  recipe.rounding = {
      .gptq = method == "gptq",
      .scale = rule == "absmax" ? ScaleRule::kAbsmax : ScaleRule::kLeastSquares,
      .options = {
          .dampening_frac = positive(rounding, "dampening_frac", usual.dampening_frac),
          .input_correction = fraction(rounding, "input_correction", usual.input_correction),
          .residual_correction =
              fraction(rounding, "residual_correction", usual.residual_correction),
          .refinements = rounding.get_or("refinements", usual.refinements)}};
  if (recipe.rounding.options.refinements < 0)
    rounding.reject("refinements", "must not be negative");
}

// The key of a linear input, in "smoothing" and in "activations".
constexpr std::array<std::string_view, kLinearInputs.size()> kInputKeys = {"qkv", "o", "gate_up",
                                                                           "down"};

// "a", "b" or "c"
std::string alternatives(std::span<const std::string_view> names) {
  std::string text;
  for (size_t i = 0; i < names.size(); ++i)
    text += fmt::format("{}\"{}\"", i == 0 ? "" : i + 1 < names.size() ? ", " : " or ", names[i]);
  return text;
}

constexpr std::string_view kWeightSchemes =
    "\"none\", or intB-gN, intB-channel, int4-gN-e4m3, int4-gN-asym, lut4-gN, lut4-gN-e4m3, "
    "fp6e2m3-gN, fp8e4m3-gN or "
    "fp8e4m3-channel with B of 4, 6 or 8 and a group N of 32, 64 or 128";

std::optional<WeightScheme> parse_weight(const JsonObject& object, std::string_view key) {
  const auto text = object.get<std::string>(key);
  if (text == "none") return std::nullopt;
  const auto found = weight_scheme_from_name(text);
  const auto is_one_of = [](int value, const auto& values) {
    return std::ranges::find(values, value) != values.end();
  };
  if (!found || !is_one_of(found->bits, std::array{4, 6, 8}) ||
      (found->group_size != 0 && !is_one_of(found->group_size, kGroupSizes)))
    object.reject(key, fmt::format("must be {}", kWeightSchemes));
  return found;
}

void parse_weights(const JsonObject& object, Recipe& recipe) {
  if (!object.has("weights")) return;
  if (!object.at("weights").is_object()) {
    recipe.weights.fill(parse_weight(object, "weights"));
    return;
  }
  const JsonObject weights = object.object("weights");
  recipe.weights.fill(weights.has("default") ? parse_weight(weights, "default") : std::nullopt);
  for (const auto& [key, value] : weights.json().items()) {
    if (key == "default") continue;
    const auto module =
        std::ranges::find(kProjections, key, [](Projection m) { return short_name(m); });
    if (module == kProjections.end()) weights.reject(key, "is no linear of a block");
    recipe.weights[size_t(*module)] = parse_weight(weights, key);
  }
}

// A head has as many rows as the vocabulary: with one scale for each, scales take next to nothing.
constexpr std::array<std::string_view, 3> kLmHeadSchemes = {"none", "fp8e4m3-channel",
                                                            "int8-channel"};

std::optional<WeightScheme> parse_lm_head(const JsonObject& object) {
  if (!object.has("lm_head")) return std::nullopt;
  const auto text = object.get<std::string>("lm_head");
  if (std::ranges::find(kLmHeadSchemes, text) == kLmHeadSchemes.end())
    object.reject("lm_head", "must be " + alternatives(kLmHeadSchemes));
  return weight_scheme_from_name(text);
}

constexpr std::string_view kActivationSchemes =
    "\"none\", \"fp8-token\", \"int8-token\", \"int8-gN\" or \"int6-gN\" with a group N of 32, "
    "64 or 128";

void parse_activations(const JsonObject& object, Recipe& recipe) {
  if (!object.has("activations")) return;
  const auto parse = [](const JsonObject& from, std::string_view key) {
    return scheme(from, key, ActivationScheme::kNone, activation_scheme_from_name,
                  kActivationSchemes);
  };
  if (!object.at("activations").is_object()) {
    recipe.activations.fill(parse(object, "activations"));
    return;
  }
  const JsonObject activations = object.object("activations");
  recipe.activations.fill(parse(activations, "default"));
  for (const auto& [key, value] : activations.json().items()) {
    if (key == "default") continue;
    const auto input = std::ranges::find(kInputKeys, key);
    if (input == kInputKeys.end()) activations.reject(key, "must be " + alternatives(kInputKeys));
    recipe.activations[size_t(input - kInputKeys.begin())] = parse(activations, key);
  }
}

void parse_searches(const JsonObject& object, Recipe& recipe) {
  if (object.has("sensitive_activations")) {
    const JsonObject sensitive = object.object("sensitive_activations");
    sensitive.allow_only({"scheme", "share"});
    recipe.sensitive_activations = Recipe::SensitiveActivations{
        .scheme = scheme(sensitive, "scheme", Recipe::SensitiveActivations().scheme,
                         activation_scheme_from_name, kActivationSchemes),
        .share = fraction(sensitive, "share", 0.25)};
  }
  if (object.has("bit_allocation")) {
    const JsonObject search = object.object("bit_allocation");
    search.allow_only({"target_bits", "max_ppl_increase"});
    recipe.bit_allocation =
        Recipe::BitAllocation{.target_bits = positive(search, "target_bits", 4.5)};
    if (search.has("max_ppl_increase"))
      recipe.bit_allocation->max_ppl_increase = positive(search, "max_ppl_increase", 0.01);
  }
}

// What the parts of a recipe ask of each other.
void check_recipe(const JsonObject& object, const Recipe& recipe) {
  std::optional<Dequant> product;  // of the linears that have a choice
  for (const Projection module : kProjections) {
    const auto& weight = recipe.weights[size_t(module)];
    const bool rounded = recipe.activations[size_t(input_of(module))] != ActivationScheme::kNone;
    if (rounded && !weight) object.reject("activations", "must be \"none\" where weights are");
    if (!weight) continue;
    const bool fireq = weight->dequant == Dequant::kE4m3 && weight->code == WeightCode::kInt;
    if (recipe.rounding.gptq && (fireq || weight->zero_point))
      object.reject("rounding", fmt::format("is gptq, which does not make {}", name(*weight)));
    if (!can_dequantize_to_e4m3(*weight)) continue;
    if (product.value_or(weight->dequant) != weight->dequant)
      object.reject("weights",
                    "must have products in e4m3 in all linears of four bits in groups or in none");
    product = weight->dequant;
  }
}

OrderedJson to_json(const std::optional<ChannelScale>& scale) {
  if (!scale) return nullptr;
  switch (scale->rule) {
    case ChannelScale::Rule::kSearch:
      return "search";
    case ChannelScale::Rule::kBalance:
      return {{"rms_balance", scale->power}};
    case ChannelScale::Rule::kMaximum:
      return {{"smoothquant", scale->power}};
    default:
      return scale->constant ? OrderedJson(*scale->constant) : OrderedJson("mean");
  }
}

OrderedJson to_json(const Recipe::PreRope& pre) {
  if (pre.rule == Recipe::PreRope::Rule::kRadius) return {{"alpha", pre.alpha}};
  return {{pre.rule == Recipe::PreRope::Rule::kBalance ? "rms_balance" : "smoothquant", pre.power}};
}

std::string weight_name(const std::optional<WeightScheme>& scheme) {
  return scheme ? name(*scheme) : "none";
}

OrderedJson weights_json(const Recipe& recipe) {
  const auto& usual = recipe.weights[0];
  OrderedJson json = {{"default", weight_name(usual)}};
  for (const Projection module : kProjections)
    if (recipe.weights[size_t(module)] != usual)
      json[std::string(short_name(module))] = weight_name(recipe.weights[size_t(module)]);
  return json.size() == 1 ? json["default"] : json;
}

OrderedJson activations_json(const Recipe& recipe) {
  const ActivationScheme& usual = recipe.activations[0];
  OrderedJson json = {{"default", name(usual)}};
  for (const LinearInput site : kLinearInputs)
    if (recipe.activations[size_t(site)] != usual)
      json[kInputKeys[size_t(site)]] = name(recipe.activations[size_t(site)]);
  return json.size() == 1 ? json["default"] : json;
}

OrderedJson rounding_json(const Recipe::Rounding& rounding) {
  if (!rounding.gptq)
    return {{"method", "rtn"},
            {"scale", rounding.scale == ScaleRule::kAbsmax ? "absmax" : "least-squares"}};
  return {{"method", "gptq"},
          {"dampening_frac", rounding.options.dampening_frac},
          {"input_correction", rounding.options.input_correction},
          {"residual_correction", rounding.options.residual_correction},
          {"refinements", rounding.options.refinements}};
}

}  // namespace

bool Recipe::quantizes_weights() const {
  return std::ranges::any_of(weights, [](const auto& scheme) { return scheme.has_value(); });
}

bool Recipe::needs_statistics() const {
  if (pre_rope || post_rope || subtract_kv_mean) return true;
  return std::ranges::any_of(kLinearInputs, [this](LinearInput site) {
    const auto& scale = channel_scale(site);
    return scale && scale->rule != ChannelScale::Rule::kMean;
  });
}

const std::optional<ChannelScale>& Recipe::channel_scale(LinearInput site) const {
  switch (site) {
    case LinearInput::kAttention:
      return qkv;
    case LinearInput::kAttentionOut:
      return o;
    case LinearInput::kMlp:
      return gate_up;
    default:
      return down;
  }
}

std::vector<LinearInput> Recipe::sites_with_moments() const {
  using Rule = ChannelScale::Rule;
  std::vector<LinearInput> sites;
  for (const LinearInput site : kLinearInputs) {
    const auto& scale = channel_scale(site);
    if (scale && (scale->rule == Rule::kBalance || scale->rule == Rule::kSearch))
      sites.push_back(site);
  }
  return sites;
}

Recipe parse_recipe(const Json& json, const std::string& where) {
  const JsonObject object(json, where);
  object.allow_only({"name", "smoothing", "rotation", "subtract_kv_mean", "weights", "lm_head",
                     "activations", "sensitive_activations", "bit_allocation", "rounding", "kv",
                     "query", "probability", "calibration_windows"});
  Recipe recipe;
  recipe.name = object.get<std::string>("name");
  if (object.has("smoothing")) parse_smoothing(object.object("smoothing"), recipe);
  if (object.has("rotation")) parse_rotation(object.object("rotation"), recipe);
  recipe.subtract_kv_mean = object.get_or("subtract_kv_mean", false);
  parse_weights(object, recipe);
  recipe.lm_head = parse_lm_head(object);
  parse_activations(object, recipe);
  parse_searches(object, recipe);
  if (object.has("rounding")) parse_rounding(object.object("rounding"), recipe);
  recipe.kv =
      scheme(object, "kv", KvScheme::kFp, kv_scheme_from_name, alternatives(kv_scheme_names()));
  recipe.query = scheme(object, "query", QueryScheme::kNone, query_scheme_from_name,
                        alternatives(query_scheme_names()));
  recipe.probability =
      scheme(object, "probability", ProbabilityScheme::kNone, probability_scheme_from_name,
             alternatives(probability_scheme_names()));
  recipe.calibration_windows = object.get_or<int64_t>("calibration_windows", 10);
  if (recipe.calibration_windows < 1) object.reject("calibration_windows", "must be at least 1");
  check_recipe(object, recipe);
  return recipe;
}

OrderedJson to_json(const Recipe& recipe) {
  OrderedJson smoothing = {{"value_scale", recipe.value_scale},
                           {"qkv", to_json(recipe.qkv)},
                           {"o", to_json(recipe.o)},
                           {"gate_up", to_json(recipe.gate_up)},
                           {"down", to_json(recipe.down)},
                           {"pre_rope", nullptr},
                           {"post_rope", nullptr}};
  if (recipe.pre_rope) smoothing["pre_rope"] = to_json(*recipe.pre_rope);
  if (recipe.post_rope)
    smoothing["post_rope"] = {{"beta", recipe.post_rope->beta}, {"top_k", recipe.post_rope->top_k}};
  OrderedJson json = {{"name", recipe.name},
                      {"smoothing", smoothing},
                      {"rotation",
                       {{"residual", recipe.rotation.residual},
                        {"values", recipe.rotation.values},
                        {"keys", recipe.rotation.keys},
                        {"down", recipe.rotation.down}}},
                      {"subtract_kv_mean", recipe.subtract_kv_mean},
                      {"weights", weights_json(recipe)},
                      {"activations", activations_json(recipe)},
                      {"rounding", rounding_json(recipe.rounding)},
                      {"kv", name(recipe.kv)},
                      {"query", name(recipe.query)},
                      {"probability", name(recipe.probability)},
                      {"calibration_windows", recipe.calibration_windows}};
  if (recipe.lm_head) json["lm_head"] = name(*recipe.lm_head);
  if (recipe.sensitive_activations)
    json["sensitive_activations"] = {{"scheme", name(recipe.sensitive_activations->scheme)},
                                     {"share", recipe.sensitive_activations->share}};
  if (recipe.bit_allocation) {
    json["bit_allocation"] = {{"target_bits", recipe.bit_allocation->target_bits}};
    if (recipe.bit_allocation->max_ppl_increase)
      json["bit_allocation"]["max_ppl_increase"] = *recipe.bit_allocation->max_ppl_increase;
  }
  return json;
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

std::span<const std::string_view> lm_head_scheme_names() { return kLmHeadSchemes; }

Recipe with_lm_head(const Recipe& recipe, const std::string& scheme) {
  OrderedJson json = to_json(recipe);
  json["lm_head"] = scheme;
  const std::string where = fmt::format("the recipe {}", recipe.name);
  json["name"] = fmt::format("{}-lm-head-{}", recipe.name, scheme);
  return parse_recipe(Json(json), where);
}

Recipe with_integer_weights(Recipe recipe, int bits) {
  EMBERQ_REQUIRE(recipe.quantizes_weights(), "the recipe {} does not quantize weights",
                 recipe.name);
  EMBERQ_REQUIRE(recipe.rotation.down == 0,
                 "the recipe {} rotates down_proj's input when the model runs, which readers of "
                 "integer weights do not",
                 recipe.name);
  recipe.weights.fill(WeightScheme{.bits = bits, .group_size = 128});
  recipe.name += fmt::format("-int{}", bits);
  return recipe;
}

Recipe with_four_bit_weights(Recipe recipe, const WeightScheme& scheme) {
  EMBERQ_CHECK(scheme.bits == 4, "four-bit weights in {}", name(scheme));
  const auto has_four_bits = [](const auto& weight) { return weight && weight->bits == 4; };
  EMBERQ_REQUIRE(std::ranges::any_of(recipe.weights, has_four_bits),
                 "the recipe {} has no weights of four bits to be {}", recipe.name, name(scheme));
  for (auto& weight : recipe.weights)
    if (has_four_bits(weight)) weight = scheme;
  const std::string where = fmt::format("the recipe {} in {}", recipe.name, name(scheme));
  recipe.name += "-" + name(scheme);
  return parse_recipe(Json(to_json(recipe)), where);
}

}  // namespace emberq
