// LUT4 whose products with the scales are e4m3 numbers: levels, scales and rounding to nearest, by
// looking at every one of the sixteen values.
#include "quant/rounding/e4m3_levels.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>

#include "format/bf16.h"
#include "format/pack.h"
#include "quant/rounding/quantized_weight_io.h"
#include "quant/rounding/rtn.h"
#include "quant/rounding/scaled_grid.h"
#include "support/f64_linear.h"

namespace emberq::e4m3_levels_test {
namespace {

const WeightScheme kProducts = *weight_scheme_from_name("lut4-g32-e4m3");

// The definition of tensor/quantized_weight.h.
double level(int u, float scale, float p) {
  return double(fp8_round(lut4_decode(uint8_t(u)) * scale * p) / p);
}

double nearest_distance(double w, float scale, float p) {
  double least = INFINITY;
  for (int u = 0; u < 16; ++u) least = std::min(least, std::abs(w - level(u, scale, p)));
  return least;
}

// Scales times p from where all levels are zero to where all are 448.
std::vector<float> scales_of_all_sizes() {
  std::mt19937_64 random(1);
  std::vector<float> scales = {0};
  for (int exponent = -22; exponent < 8; ++exponent)
    for (int i = 0; i < 20; ++i)
      scales.push_back(
          bf16::from_float(std::ldexp(1 + float(random() % 128) / 128, exponent)).to_float());
  return scales;
}

TEST(E4m3Levels, AreTheRoundedProductsOfEveryCode) {
  for (const float scale : scales_of_all_sizes()) {
    const E4m3Levels levels(scale / 8, 8);
    for (int u = 0; u < 16; ++u) EXPECT_EQ(levels.value(u), level(u, scale / 8, 8)) << scale;
  }
}

TEST(E4m3Levels, EncodeToTheNearest) {
  for (const float scale : scales_of_all_sizes()) {
    const E4m3Levels levels(scale / 8, 8);
    const double widest = std::max(1e-4, levels.value(7));
    std::vector<double> weights = {0, -0.0, widest, -widest, 3 * widest, -3 * widest};
    for (const float x : test::normal_floats(200, 2)) weights.push_back(double(x) * 0.5 * widest);
    for (int u = 0; u < 16; ++u) weights.push_back(levels.value(u));
    for (const double w : weights)
      EXPECT_EQ(std::abs(w - levels.value(levels.encode(w))), nearest_distance(w, scale / 8, 8))
          << w << " under " << scale;
  }
}

TEST(E4m3Levels, RoundToTheValueOfTheirCode) {
  for (const float scale : scales_of_all_sizes()) {
    const E4m3Levels levels(scale / 16, 16);
    for (const float x : test::normal_floats(200, 3)) {
      const double w = double(x) * std::max(1e-4, levels.value(7)) * 0.6;
      EXPECT_EQ(levels.round(w), levels.value(levels.encode(w))) << w << " under " << scale;
    }
  }
}

double lut_scale(const std::vector<double>& absmax) {
  return global_scale(absmax, WeightCode::kLut);
}

TEST(PerTensorScaleOfLut4, IsOneWhereEverySmallestLevelIsNormal) {
  EXPECT_EQ(lut_scale({0.3, 1, 224}), 1);  // 0.3 * 12 / 224 = 0.01607
  EXPECT_EQ(lut_scale({0, 0}), 1);
}

TEST(PerTensorScaleOfLut4, IsTheSmallestThatMakesEverySmallestLevelNormal) {
  EXPECT_EQ(lut_scale({0.28, 1}), 2);
  EXPECT_EQ(lut_scale({0.02, 0.9}), 16);  // 0.32 and not 0.16
}

TEST(PerTensorScaleOfLut4, StopsBeforeAnyGroupPasses224) {
  EXPECT_EQ(lut_scale({0.001, 100}), 2);
  EXPECT_EQ(lut_scale({0.001, 112}), 2);
  EXPECT_EQ(lut_scale({0.001, 113}), 1);
  EXPECT_EQ(lut_scale({1e-12, 1e-9}), 16384);
}

TEST(PerTensorScaleOfLut4, GoesBelowOneForWeightsThatE4m3DoesNotHold) {
  EXPECT_EQ(lut_scale({0.5, 225}), 0.5);
  EXPECT_EQ(lut_scale({1000}), 0.125);
}

// Weights of 3 rows in groups of 32: of a bell shape, all zero, one outlier, and tiny ones beside
// huge ones.
std::vector<F64Linear> linears() {
  std::vector<F64Linear> result;
  for (const double size : {1e-5, 0.02, 3.0}) {
    result.push_back(test::random_linear(3, 96, 5));
    for (double& w : result.back().weight) w *= size;
  }
  F64Linear zeros{.n = 3, .k = 96, .weight = std::vector<double>(288)};
  result.push_back(zeros);
  zeros.weight[100] = -7;
  result.push_back(zeros);
  result.push_back(test::random_linear(3, 96, 6));
  for (size_t i = 0; i < 96; ++i) result.back().weight[i] *= i < 32 ? 1e-4 : i < 64 ? 1000 : 1;
  return result;
}

TEST(RoundToNearestProducts, TakeTheNearestLevelOfEveryWeight) {
  for (const ScaleRule rule : {ScaleRule::kAbsmax, ScaleRule::kLeastSquares})
    for (const F64Linear& linear : linears()) {
      const QuantizedWeight q = round_to_nearest(linear, kProducts, rule);
      const std::vector<float> scales = q.scale.to_float(), values = unpack(q);
      for (size_t i = 0; i < values.size(); ++i)
        ASSERT_EQ(std::abs(linear.weight[i] - double(values[i])),
                  nearest_distance(linear.weight[i], scales[i / 32], q.global_scale))
            << i;
    }
}

TEST(RoundToNearestProducts, MakeZerosOfAGroupOfZeros) {
  const F64Linear zeros{.n = 1, .k = 64, .weight = std::vector<double>(64)};
  for (const float value : unpack(round_to_nearest(zeros, kProducts))) EXPECT_EQ(value, 0);
}

TEST(RoundToNearestProducts, NeverSaturate) {
  for (const ScaleRule rule : {ScaleRule::kAbsmax, ScaleRule::kLeastSquares})
    for (const F64Linear& linear : linears()) {
      const QuantizedWeight q = round_to_nearest(linear, kProducts, rule);
      for (const float scale : q.scale.to_float())
        EXPECT_LE(kLut4Max * scale * q.global_scale, kFp8Max);
    }
}

double error_of(const F64Linear& linear, size_t group, const std::vector<double>& h, float scale,
                float p) {
  double error = 0;
  for (size_t i = 0; i < 32; ++i) {
    const double d = nearest_distance(linear.weight[group * 32 + i], scale, p);
    error += h[group * 32 % size_t(linear.k) + i] * d * d;
  }
  return error;
}

TEST(SearchedScalesOfProducts, AreNoWorseThanAnyOtherMultipleOfTheLargestMagnitude) {
  std::vector<double> h;
  for (const float x : test::normal_floats(96, 7)) h.push_back(double(x * x));
  for (const F64Linear& linear : linears()) {
    const GroupScales scales = searched_scales(linear, WeightGrid(kProducts), h);
    const std::vector<double> absmax = group_absmax(linear, 32);
    EXPECT_EQ(scales.global_scale, float(global_scale(absmax, WeightCode::kLut)));
    for (size_t g = 0; g < absmax.size(); ++g) {
      const double found = error_of(linear, g, h, scales.scale[g], scales.global_scale);
      for (int i = 0; i < 36; ++i) {
        const double scale = std::max(1e-5, absmax[g]) / 224 * (0.45 + 0.7 * i / 35);
        const double other =
            error_of(linear, g, h, bf16::from_float(float(scale)).to_float(), scales.global_scale);
        EXPECT_LE(found, other * (1 + 1e-12)) << g << ", " << i;
      }
    }
  }
}

}  // namespace
}  // namespace emberq::e4m3_levels_test
