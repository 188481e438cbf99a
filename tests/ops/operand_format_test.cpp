#include "ops/cuda/linear/operand_format.h"

#include <gtest/gtest.h>

#include "format/fp8.h"
#include "format/lut4.h"
#include "ops/cuda/linear/expand.h"
#include "support/refusal.h"

namespace emberq::cuda::operand_format_test {
namespace {

WeightScheme scheme_of(const char* name) { return *weight_scheme_from_name(name); }

TEST(OperandFormat, IsThatOfTheSchemeWhateverItsGroups) {
  for (const char* group : {"g32", "g64", "g128"}) {
    const auto format = [&](const std::string& code, const std::string& suffix) {
      return operand_format(scheme_of((code + "-" + group + suffix).c_str()));
    };
    EXPECT_EQ(format("lut4", ""), OperandFormat::kLut4);
    EXPECT_EQ(format("int4", ""), OperandFormat::kInt4);
    EXPECT_EQ(format("lut4", "-e4m3"), OperandFormat::kLut4E4m3);
    EXPECT_EQ(format("int4", "-e4m3"), OperandFormat::kInt4E4m3);
  }
  EXPECT_EQ(operand_format(scheme_of("int4-channel")), OperandFormat::kInt4);
}

TEST(OperandFormat, RefusesSchemesThatNoOperandMultiplies) {
  for (const WeightScheme& scheme : {WeightScheme{.bits = 8, .group_size = 0},
                                     WeightScheme{.bits = 6, .code = WeightCode::kFloat},
                                     WeightScheme{.bits = 4, .zero_point = true}})
    EXPECT_EQ(
        refusal([&] { operand_format(scheme); }),
        "the cuda backend multiplies four-bit weights without zero points, not " + name(scheme));
}

TEST(OperandParams, OfLut4AreTheE4m3ValuesOfItsCodes) {
  const OperandParams params = operand_params(scheme_of("lut4-g128"), 1);
  EXPECT_EQ(params.factor, 1);
  for (uint32_t u = 0; u < 16; ++u)
    EXPECT_EQ(fp8_decode(uint8_t(params.table.words[u / 4] >> u % 4 * 8)), lut4_decode(uint8_t(u)));
}

TEST(OperandParams, UndoWhatExpansionAndTheStoredProductsMultiplyBy) {
  EXPECT_EQ(operand_params(scheme_of("int4-g64"), 1).factor, kInt4Factor);
  EXPECT_EQ(operand_params(scheme_of("int4-g128-e4m3"), 64).factor, 1.0f / 64);
  EXPECT_EQ(operand_params(scheme_of("lut4-g32-e4m3"), 8).factor, 1.0f / 8);
}

TEST(GroupsPerTile, AreOneTwoOrFour) {
  EXPECT_EQ(groups_per_tile(32), 4);
  EXPECT_EQ(groups_per_tile(64), 2);
  EXPECT_EQ(groups_per_tile(128), 1);
  EXPECT_EQ(groups_per_tile(4096), 1);
}

}  // namespace
}  // namespace emberq::cuda::operand_format_test
