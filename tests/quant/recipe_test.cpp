#include "quant/recipe.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "support/tiny_model.h"

namespace emberq {
namespace {

std::string complaint(const std::string& json) {
  try {
    parse_recipe(parse_json(json, "r.json"), "r.json");
  } catch (const InputError& e) {
    return e.what();
  }
  return "";
}

TEST(Recipe, OfFireqSaysWhatThePaperShips) {
  const Recipe r = find_recipe("fireq");
  EXPECT_EQ(r.v_mul, 0.9);
  EXPECT_TRUE(!r.qkv && !r.o && r.up_gate && !r.up_gate->constant && r.down && !r.down->constant);
  EXPECT_EQ(r.pre_rope->alpha, 8);
  EXPECT_EQ(r.post_rope->beta, 8);
  EXPECT_EQ(r.post_rope->top_k, 8);
  EXPECT_EQ(*r.weights, (WeightScheme{4, 128, WeightProduct::kE4m3}));
  EXPECT_EQ(r.activations, ActivationScheme::kFp8Token);
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
      R"({"name": "mine", "smoothing": {"down": 0.015, "up_gate": null}, "weights": "int4-g64"})");
  const Recipe r = find_recipe((folder.path() / "mine.json").string());
  EXPECT_EQ(r.down->constant, 0.015);
  EXPECT_FALSE(r.up_gate || r.pre_rope || r.post_rope || r.needs_calibration());
  EXPECT_EQ(*r.weights, (WeightScheme{4, 64, WeightProduct::kExact}));
}

TEST(Recipe, RefusesByKeyWhatItDoesNotKnow) {
  EXPECT_EQ(complaint(R"({"name": "x", "wieghts": "none"})"), "r.json: wieghts is not a known key");
  EXPECT_EQ(complaint(R"({"weights": "none"})"), "r.json: name is missing");
  EXPECT_NE(complaint(R"({"name": "x", "weights": "int3-g128"})").find("weights must be"),
            std::string::npos);
  EXPECT_NE(complaint(R"({"name": "x", "kv": "kv2"})").find("kv must be"), std::string::npos);
  EXPECT_NE(complaint(R"({"name": "x", "activations": "fp8-token"})").find("activations must be"),
            std::string::npos);
  EXPECT_NE(complaint(R"({"name": "x", "smoothing": {"v_mul": 0}})")
                .find("smoothing.v_mul must be a positive number"),
            std::string::npos);
  EXPECT_NE(
      complaint(R"({"name": "x", "smoothing": {"down": "median"}})").find("smoothing.down must be"),
      std::string::npos);
  EXPECT_NE(complaint(R"({"name": "x", "smoothing": {"post_rope": {"top_k": 0}}})")
                .find("smoothing.post_rope.top_k"),
            std::string::npos);
}

TEST(Recipe, UnknownByNameListsTheKnown) {
  try {
    find_recipe("firq");
    FAIL() << "found";
  } catch (const InputError& e) {
    EXPECT_EQ(std::string(e.what()).find("there is no recipe firq: name one of fireq, "), 0u)
        << e.what();
  }
}

}  // namespace
}  // namespace emberq
