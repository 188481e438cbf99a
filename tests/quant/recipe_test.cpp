#include "quant/recipe/recipe.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "base/json.h"
#include "support/refusal.h"
#include "support/tiny_model.h"

namespace emberq::recipe_test {
namespace {

Recipe parse(const std::string& json) { return parse_recipe(parse_json(json, "r.json"), "r.json"); }

TEST(Recipe, OfFireqSaysWhatThePaperShips) {
  const Recipe r = find_recipe("fireq");
  EXPECT_EQ(r.value_scale, 0.9);
  EXPECT_TRUE(!r.qkv && !r.o && r.gate_up && !r.gate_up->constant && r.down && !r.down->constant);
  EXPECT_EQ(r.pre_rope->alpha, 8);
  EXPECT_EQ(r.post_rope->beta, 8);
  EXPECT_EQ(r.post_rope->top_k, 8);
  for (const auto& weight : r.weights) EXPECT_EQ(*weight, (WeightScheme{4, 128, Dequant::kE4m3}));
  for (const ActivationScheme scheme : r.activations)
    EXPECT_EQ(scheme, ActivationScheme::kFp8Token);
  EXPECT_EQ(r.kv, KvScheme::kInt4Head);
  EXPECT_EQ(r.query, QueryScheme::kFp8Head);
}

TEST(Recipe, WrittenAndReadIsTheSame) {
  for (const BuiltinRecipe& builtin : builtin_recipes()) {
    const OrderedJson json = to_json(find_recipe(std::string(builtin.name)));
    EXPECT_EQ(to_json(parse_recipe(parse_json(json.dump(), "r"), "r")), json) << builtin.name;
  }
}

TEST(Recipe, OfAFileMayNameAConstantAndSwitchStepsOff) {
  const TestFolder folder;
  write_text(
      folder.path() / "mine.json",
      R"({"name": "mine", "smoothing": {"down": 0.015, "gate_up": null}, "weights": "int4-g64"})");
  const Recipe r = find_recipe((folder.path() / "mine.json").string());
  EXPECT_EQ(r.down->constant, 0.015);
  EXPECT_FALSE(r.gate_up || r.pre_rope || r.post_rope || r.needs_calibration());
  EXPECT_EQ(*r.weights[0], (WeightScheme{4, 64, Dequant::kExact}));
}

TEST(Recipe, RefusesByKeyWhatItDoesNotKnow) {
  EXPECT_EQ(refusal([] { parse(R"({"name": "x", "wieghts": "none"})"); }),
            "r.json: wieghts is not a known key");
  EXPECT_EQ(refusal([] { parse(R"({"weights": "none"})"); }), "r.json: name is missing");
  EXPECT_REFUSED(parse(R"({"name": "x", "weights": "int3-g128"})"), "weights must be");
  EXPECT_REFUSED(parse(R"({"name": "x", "kv": "kv2"})"), "kv must be");
  EXPECT_REFUSED(parse(R"({"name": "x", "activations": "fp8-token"})"), "activations must be");
  EXPECT_REFUSED(parse(R"({"name": "x", "smoothing": {"value_scale": 0}})"),
                 "smoothing.value_scale must be a positive number");
  EXPECT_REFUSED(parse(R"({"name": "x", "smoothing": {"down": "median"}})"),
                 "smoothing.down must be");
  EXPECT_REFUSED(parse(R"({"name": "x", "smoothing": {"post_rope": {"top_k": 0}}})"),
                 "smoothing.post_rope.top_k");
}

TEST(Recipe, MayNameSchemesByModuleAndBySite) {
  const Recipe r = parse(R"({"name": "x",
    "weights": {"default": "lut4-g128", "v_proj": "fp6e2m3-g128"},
    "activations": {"default": "int6-g128", "down": "int8-g128"}})");
  EXPECT_EQ(name(*r.weights[size_t(Projection::kV)]), "fp6e2m3-g128");
  EXPECT_EQ(name(*r.weights[size_t(Projection::kK)]), "lut4-g128");
  EXPECT_EQ(r.activations[size_t(LinearInput::kMlpDown)],
            (ActivationScheme{ActivationCode::kInt8, 128}));
  EXPECT_EQ(r.activations[size_t(LinearInput::kAttention)],
            (ActivationScheme{ActivationCode::kInt6, 128}));
  EXPECT_REFUSED(parse(R"({"name": "x", "weights": {"z_proj": "int4-g128"}})"),
                 "weights.z_proj is no linear of a block");
}

TEST(Recipe, LeavesTheHeadAsItIsUnlessItSaysOtherwise) {
  for (const BuiltinRecipe& builtin : builtin_recipes()) {
    const Recipe r = find_recipe(std::string(builtin.name));
    EXPECT_FALSE(r.lm_head) << builtin.name;
    EXPECT_FALSE(to_json(r).contains("lm_head")) << builtin.name;
  }
  EXPECT_FALSE(parse(R"({"name": "x", "lm_head": "none"})").lm_head);
  const Recipe r = parse(R"({"name": "x", "lm_head": "fp8e4m3-channel"})");
  EXPECT_EQ(*r.lm_head, *weight_scheme_from_name("fp8e4m3-channel"));
  EXPECT_FALSE(r.quantizes_weights() || r.needs_calibration());
  EXPECT_EQ(parse(to_json(r).dump()).lm_head, r.lm_head);
}

TEST(Recipe, RefusesAHeadInASchemeThatHeadsDoNotHaveAndNamesThoseThatTheyHave) {
  for (const char* scheme : {"int4-g128", "fp8e4m3-g128", "lut4-channel", "fp8"})
    EXPECT_REFUSED(parse(fmt::format(R"({{"name": "x", "lm_head": "{}"}})", scheme)),
                   R"(r.json: lm_head must be "none", "fp8e4m3-channel" or "int8-channel", got )",
                   scheme);
  EXPECT_REFUSED(with_lm_head(find_recipe("fireq"), "int4-g128"),
                 "the recipe fireq: lm_head must be \"none\", \"fp8e4m3-channel\" or");
}

TEST(Recipe, WithAHeadKeepsEverythingElse) {
  for (const std::string_view scheme : lm_head_scheme_names()) {
    const Recipe r = with_lm_head(find_recipe("emberq4"), std::string(scheme));
    EXPECT_EQ(r.lm_head, weight_scheme_from_name(scheme));
    EXPECT_EQ(r.name, fmt::format("emberq4-lm-head-{}", scheme));
    OrderedJson json = to_json(r);
    json.erase("lm_head");
    json["name"] = "emberq4";
    EXPECT_EQ(json, to_json(find_recipe("emberq4")));
  }
}

TEST(Recipe, WithIntegerWeightsHasOneSchemeAndRefusesARotationThatRuns) {
  const Recipe r = with_integer_weights(find_recipe("emberq4"), 4);
  for (const auto& weight : r.weights) EXPECT_EQ(name(*weight), "int4-g128");
  EXPECT_EQ(r.name, "emberq4-int4");
  EXPECT_REFUSED(with_integer_weights(find_recipe("emberq6"), 4), "rotates down_proj's input");
}

TEST(Recipe, HasProductsInAllLinearsThatCanHaveThemOrInNone) {
  const auto weights = [](const std::string& value, const std::string& other) {
    return R"({"name": "x", "weights": {"default": ")" + value + R"(", "v_proj": ")" + other +
           R"("}})";
  };
  for (const char* other :
       {"fp6e2m3-g128", "int8-channel", "lut4-channel", "none", "lut4-g64-e4m3"})
    EXPECT_EQ(refusal([&] { parse(weights("lut4-g128-e4m3", other)); }), "") << other;
  EXPECT_EQ(refusal([&] { parse(weights("fp6e2m3-g128", "lut4-g128-e4m3")); }), "");
  for (const char* other : {"lut4-g128", "int4-g128"}) {
    EXPECT_REFUSED(parse(weights("lut4-g128-e4m3", other)), "weights must have products in e4m3");
    EXPECT_REFUSED(parse(weights(other, "lut4-g128-e4m3")), "weights must have products in e4m3");
  }
}

TEST(Recipe, OfGptqMayHaveProductsOfLut4AndNotOfInt4) {
  const auto recipe = [](const std::string& weights) {
    return R"({"name": "x", "rounding": {"method": "gptq"}, "weights": ")" + weights + R"("})";
  };
  EXPECT_EQ(refusal([&] { parse(recipe("lut4-g128-e4m3")); }), "");
  EXPECT_REFUSED(parse(recipe("int4-g128-e4m3")), "rounding is gptq", "int4-g128-e4m3");
}

TEST(Recipe, WithFourBitWeightsKeepsTheWiderOnes) {
  const WeightScheme products = *weight_scheme_from_name("lut4-g128-e4m3");
  const Recipe r = with_four_bit_weights(find_recipe("emberq4"), products);
  for (const Projection module : kProjections)
    EXPECT_EQ(name(*r.weights[size_t(module)]),
              module == Projection::kV ? "fp6e2m3-g128" : "lut4-g128-e4m3");
  EXPECT_EQ(r.name, "emberq4-lut4-g128-e4m3");
  EXPECT_REFUSED(with_four_bit_weights(find_recipe("emberq6"), products),
                 "no weights of four bits");
  EXPECT_REFUSED(
      with_four_bit_weights(find_recipe("emberq4"), *weight_scheme_from_name("int4-g128-e4m3")),
      "the recipe emberq4 in int4-g128-e4m3: rounding is gptq");
}

TEST(Recipe, UnknownByNameListsTheKnown) {
  EXPECT_REFUSED(find_recipe("firq"), "there is no recipe firq: name one of emberq4, ");
}

}  // namespace
}  // namespace emberq::recipe_test
