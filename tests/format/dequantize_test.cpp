#include <gtest/gtest.h>

#include "format/weight_code.h"

namespace emberq::dequantize_test {
namespace {

TEST(Dequantize, MultipliesTheCodeLessItsZeroPointByTheScale) {
  const WeightScheme scheme{.zero_point = true};
  for (int stored = 0; stored < 16; ++stored)
    for (int zero = -8; zero < 8; ++zero)
      EXPECT_EQ(dequantize(scheme, stored, zero, 0.75f, 1), float(stored - 8 - zero) * 0.75f);
}

TEST(Dequantize, RoundsTheProductWithBothScalesToE4m3) {
  for (const WeightCode code : {WeightCode::kInt, WeightCode::kLut}) {
    const WeightScheme scheme{.dequant = Dequant::kE4m3, .code = code};
    for (int stored = 0; stored < 16; ++stored)
      for (const float scale : {0.0f, 0x1p-9f, 0.171875f, -0.40625f, 3.0f})
        EXPECT_EQ(dequantize(scheme, stored, 0, scale, 64),
                  fp8_round(weight_code_value(scheme, stored) * scale * 64) / 64)
            << stored << " x " << scale;
  }
}

TEST(Dequantize, SaturatesProductsAtTheLargestE4m3Number) {
  const WeightScheme scheme{.dequant = Dequant::kE4m3};
  EXPECT_EQ(dequantize(scheme, 0, 0, 100, 4), -kFp8Max / 4);
}

}  // namespace
}  // namespace emberq::dequantize_test
