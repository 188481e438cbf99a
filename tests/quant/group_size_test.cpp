#include "quant/recipe/group_size.h"

#include <gtest/gtest.h>

#include "base/json.h"
#include "support/refusal.h"
#include "support/tiny_model.h"

namespace emberq::group_size_test {
namespace {

ModelConfig config_of(int hidden, int intermediate) {
  Json config = test::tiny_config("llama");
  config["hidden_size"] = hidden, config["intermediate_size"] = intermediate;
  return parse_config(config, "config.json");
}

TEST(FittingGroup, IsTheLargestThatDividesTheInputsUpToWhatIsAskedFor) {
  for (int64_t inputs = 1; inputs <= 4096; ++inputs)
    for (const int asked : kGroupSizes) {
      int expected = 0;
      for (const int size : kGroupSizes)
        if (size <= asked && inputs % size == 0) expected = size;
      ASSERT_EQ(fitting_group(asked, inputs), expected) << asked << ", " << inputs;
    }
  EXPECT_EQ(fitting_group(128, 576), 64);
  EXPECT_EQ(fitting_group(128, 1376), 32);
}

TEST(FittedScheme, KeepsAllButTheGroup) {
  const auto fitted_name = [](const char* weight, int64_t inputs) {
    return name(fitted(*weight_scheme_from_name(weight), inputs));
  };
  EXPECT_EQ(fitted_name("lut4-g128", 1536), "lut4-g128");
  EXPECT_EQ(fitted_name("int4-g128-e4m3", 576), "int4-g64-e4m3");
  EXPECT_EQ(fitted_name("int4-g128-asym", 1376), "int4-g32-asym");
  EXPECT_EQ(fitted_name("fp6e2m3-g64", 960), "fp6e2m3-g64");
  EXPECT_EQ(fitted_name("int8-channel", 7), "int8-channel");
  EXPECT_EQ(name(fitted(ActivationScheme{ActivationCode::kInt6, 128}, 576)), "int6-g64");
  EXPECT_EQ(fitted(ActivationScheme::kFp8Token, 7), ActivationScheme::kFp8Token);
}

TEST(OtherGroups, AreSaidInOneLineWithTheirLinearsAndWidths) {
  const Recipe recipe = find_recipe("emberq4");
  EXPECT_EQ(other_groups(recipe, config_of(512, 1536)), "");
  EXPECT_EQ(other_groups(recipe, config_of(576, 1376)),
            "groups of 64 instead of 128: q_proj, k_proj, v_proj, gate_proj, up_proj (576 inputs); "
            "groups of 32 instead of 128: down_proj (1376 inputs)");
  EXPECT_EQ(other_groups(find_recipe("smoothquant"), config_of(576, 1376)), "");
}

TEST(OtherGroups, AreThoseOfInputsTooWhereOnlyTheyHaveGroups) {
  Recipe recipe = find_recipe("flexq");
  recipe.weights.fill(*weight_scheme_from_name("int8-channel"));
  EXPECT_EQ(other_groups(recipe, config_of(128, 1376)),
            "groups of 32 instead of 128: down_proj (1376 inputs)");
}

class CheckGroups : public testing::Test {
 protected:
  std::string refusal_of(const char* recipe, int hidden, int intermediate) {
    const TestFolder folder;
    Json config = test::tiny_config("llama");
    config["hidden_size"] = hidden, config["intermediate_size"] = intermediate;
    test::write_tiny_model(folder.path() / "model", config);
    return refusal(
        [&] { check_groups(Checkpoint::open(folder.path() / "model"), find_recipe(recipe)); });
  }
};

TEST_F(CheckGroups, RefusesAWidthThatNotEven32DividesByLinearAndWidth) {
  for (const char* recipe : {"emberq4", "emberq6", "mixed", "fireq", "flexq", "qserve"}) {
    const std::string message = refusal_of(recipe, 128, 1000);
    EXPECT_NE(message.find("model.layers.0.mlp.down_proj has 1000 inputs, which groups of 128 down "
                           "to 32 do not divide"),
              std::string::npos)
        << recipe << ": " << message;
  }
  EXPECT_NE(refusal_of("emberq4", 100, 256).find("self_attn.q_proj has 100 inputs"),
            std::string::npos);
}

TEST_F(CheckGroups, TakesAnyWidthWhereARowHasOneScale) {
  for (const char* recipe : {"smoothquant", "fp8", "kv4-only"})
    EXPECT_EQ(refusal_of(recipe, 100, 1000), "") << recipe;
}

}  // namespace
}  // namespace emberq::group_size_test
