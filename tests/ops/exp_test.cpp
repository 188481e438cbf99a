#include "ops/cpu/exp.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>

namespace emberq::cpu::exp_test {
namespace {

TEST(ExpNegative, IsWithinTwoUnitsInTheLastPlaceFromZeroToMinus87) {
  for (uint32_t bits = std::bit_cast<uint32_t>(-87.0f); bits > 0x80000000; bits -= 1009) {
    const float x = std::bit_cast<float>(bits);
    const double exact = std::exp(double(x));
    ASSERT_NEAR(exp_negative(x), exact, 2 * 0x1p-23 * exact) << x;
  }
}

TEST(ExpNegative, IsOneAtZeroAndTinyButNotNegativeFarBelow) {
  EXPECT_EQ(exp_negative(0.0f), 1.0f);
  EXPECT_EQ(exp_negative(-0.0f), 1.0f);
  for (const float x : {-88.0f, -1e4f, -1e30f, -INFINITY}) {
    EXPECT_GE(exp_negative(x), 0.0f);
    EXPECT_LT(exp_negative(x), 2e-38f);
  }
}

}  // namespace
}  // namespace emberq::cpu::exp_test
