#include "quant/rounding/rtn.h"

#include <gtest/gtest.h>

#include <cmath>

#include "format/pack.h"
#include "format/scale.h"
#include "quant/rounding/scale_search.h"
#include "support/random.h"

namespace emberq::rtn_test {
namespace {

constexpr WeightScheme kFireq{4, 32, Dequant::kE4m3};
constexpr WeightScheme kPlain{4, 32, Dequant::kExact};

F64Linear linear_of(int64_t n, int64_t k, std::vector<double> weight) {
  return {.n = n, .k = k, .weight = std::move(weight)};
}

int code(const QuantizedWeight& weight, int64_t row, int64_t i) {
  return packed_code(
      weight.packed.data<uint32_t>() + row * int64_t(packed_words(size_t(weight.k), 4)), size_t(i),
      4);
}

TEST(PerTensorScale, IsOneWhereNoGroupFallsUnderTheSmallestScale) {
  EXPECT_EQ(global_scale(std::vector<double>{7 * 0x1p-9, 1, 400}), 1);
}

TEST(PerTensorScale, IsTheSmallestThatLiftsEveryGroup) {
  // 0.001 is lifted to at least 7 * 2^-9 = 0.01367 by 16 and not by 8.
  EXPECT_EQ(global_scale(std::vector<double>{0.001, 0.5}), 16);
  EXPECT_EQ(global_scale(std::vector<double>{7 * 0x1p-10}), 2);
}

TEST(PerTensorScale, StopsBeforeAnyGroupPasses448) {
  EXPECT_EQ(global_scale(std::vector<double>{0.001, 100}), 4);
  EXPECT_EQ(global_scale(std::vector<double>{0.001, 448}), 1);
  EXPECT_EQ(global_scale(std::vector<double>{0.001, 1000}), 1);  // none survives
}

TEST(PerTensorScale, EndsAtTwoToThe14) {
  EXPECT_EQ(global_scale(std::vector<double>{1e-12, 1e-9}), 16384);
}

TEST(PerTensorScale, OfZerosIsOneBecauseNoScaleHelps) {
  EXPECT_EQ(global_scale(std::vector<double>{0, 0}), 1);
}

TEST(RoundToNearest, LiftsATensorOfTinyWeightsByItsScale) {
  std::vector<double> w(32);
  for (size_t i = 0; i < w.size(); ++i) w[i] = 0.001 * double(i) / 31;
  const QuantizedWeight q = round_to_nearest(linear_of(1, 32, w), kFireq);
  EXPECT_EQ(q.global_scale, 16);
  // 0.016 / 7 = 0.002286 rounds to the e4m3 subnormal 2^-9, through which 0.016 is 8.19: code 7.
  EXPECT_EQ(q.scale.to_float(), std::vector<float>{0x1p-9f / 16});
  EXPECT_EQ(code(q, 0, 31), 7);
  for (int64_t i = 0; i < 32; ++i)
    EXPECT_EQ(code(q, 0, i), std::min(7, int(std::nearbyint(16 * w[size_t(i)] / 0x1p-9)))) << i;
}

TEST(RoundToNearest, FloorsTheScaleOfADeadGroup) {
  std::vector<double> w(64);
  w[0] = 400;    // keeps p at 1
  w[32] = 1e-4;  // its scale would be 1.4e-5
  const QuantizedWeight q = round_to_nearest(linear_of(1, 64, w), kFireq);
  EXPECT_EQ(q.global_scale, 1);
  EXPECT_EQ(q.scale.to_float()[1], 0x1p-9f);
  for (int64_t i = 32; i < 64; ++i) EXPECT_EQ(code(q, 0, i), 0);
}

TEST(RoundToNearest, DividesByTheRoundedScaleAndUsesMinusEightWhereItRoundedDown) {
  std::vector<double> w(32);
  // 2.4 * 2^-9 rounds down to the e4m3 subnormal 2^-8: the largest weight is then 8.4 steps.
  const double largest = 7 * 2.4 * 0x1p-9;
  w[0] = -largest, w[1] = largest, w[2] = 0x1p-9, w[3] = 3 * 0x1p-9, w[4] = -0x1p-9;
  const QuantizedWeight q = round_to_nearest(linear_of(1, 32, w), kFireq);
  EXPECT_EQ(q.scale.to_float(), std::vector<float>{0x1p-8f});
  const int expected[] = {-8, 7, 0, 2, 0};  // halves go to the even code
  for (int64_t i = 0; i < 5; ++i) EXPECT_EQ(code(q, 0, i), expected[i]) << i;
}

TEST(RoundToNearest, StoresScalesThatTimesPAreE4m3Numbers) {
  for (const double magnitude : {1e-5, 1e-3, 0.02, 5.0}) {
    F64Linear linear = linear_of(8, 128, {});
    for (const float x : test::normal_floats(8 * 128, 3))
      linear.weight.push_back(magnitude * double(x));
    const QuantizedWeight q = round_to_nearest(linear, kFireq);
    for (const float scale : q.scale.to_float()) {
      EXPECT_EQ(fp8_round(scale * q.global_scale), scale * q.global_scale);
      EXPECT_GE(scale * q.global_scale, 0x1p-9f);
    }
  }
}

TEST(RoundToNearest, WithBf16ScalesTakesTheNearestCodeOfEveryWeight) {
  F64Linear linear = linear_of(5, 96, {});
  for (const float x : test::normal_floats(5 * 96, 4, 0.05f)) linear.weight.push_back(double(x));
  const QuantizedWeight q = round_to_nearest(linear, kPlain);
  const std::vector<float> scales = q.scale.to_float();
  for (int64_t row = 0; row < 5; ++row)
    for (int64_t i = 0; i < 96; ++i) {
      const double scale = double(scales[size_t(row * 3 + i / 32)]), w = linear.row(row)[i];
      double least = INFINITY;
      for (int c = -8; c <= 7; ++c) least = std::min(least, std::abs(w - c * scale));
      EXPECT_DOUBLE_EQ(std::abs(w - code(q, row, i) * scale), least);
    }
}

TEST(RoundToNearest, OfZerosIsZeros) {
  for (const WeightScheme& scheme : {kFireq, kPlain}) {
    const QuantizedWeight q = round_to_nearest(linear_of(2, 64, std::vector<double>(128)), scheme);
    for (int64_t i = 0; i < 64; ++i) EXPECT_EQ(code(q, 1, i), 0);
    for (const float scale : q.scale.to_float()) EXPECT_GT(scale, 0);
  }
}

}  // namespace
}  // namespace emberq::rtn_test
