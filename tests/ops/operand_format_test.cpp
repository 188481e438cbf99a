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

TEST(OperandFormat, OfFloatsIsThatOfE4m3Bytes) {
  for (const char* name : {"fp8e4m3-channel", "fp8e4m3-g128", "fp6e2m3-g64"})
    EXPECT_EQ(operand_format(scheme_of(name)), OperandFormat::kE4m3) << name;
}

TEST(OperandFormat, IsNoneOfSchemesThatNoOperandMultiplies) {
  for (const char* name : {"int8-channel", "int6-g128", "int2-g64", "int4-g128-asym"}) {
    EXPECT_EQ(operand_format(scheme_of(name)), std::nullopt) << name;
    EXPECT_TRUE(contains(error_of([&] { operand_params(scheme_of(name), 1); }), name));
  }
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
  EXPECT_EQ(operand_params(scheme_of("fp6e2m3-g32"), 1).factor, 1);
}

TEST(GroupsPerTile, AreOneTwoOrFour) {
  EXPECT_EQ(groups_per_tile(32), 4);
  EXPECT_EQ(groups_per_tile(64), 2);
  EXPECT_EQ(groups_per_tile(128), 1);
  EXPECT_EQ(groups_per_tile(4096), 1);
}

}  // namespace
}  // namespace emberq::cuda::operand_format_test
