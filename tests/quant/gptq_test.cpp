// GPTQ against its own aim, computed naively: sum over tokens of |W x - Ŵ x̂|^2.
#include "quant/rounding/gptq.h"

#include <gtest/gtest.h>

#include <cmath>

#include "format/fp8.h"
#include "format/lut4.h"
#include "quant/rounding/quantized_weight_io.h"
#include "quant/rounding/rtn.h"
#include "support/f64_linear.h"

namespace emberq::gptq_test {
namespace {

constexpr int64_t kN = 24, kK = 64, kTokens = 300;
const WeightScheme kInt4{.bits = 4, .group_size = 32};
const WeightScheme kProducts = *weight_scheme_from_name("lut4-g32-e4m3");

F64Linear random_linear(uint64_t seed) { return test::random_linear(kN, kK, seed); }

// Tokens [kTokens, kK] whose channels follow each other, as a model's do.
std::vector<double> correlated(uint64_t seed) {
  std::vector<double> x;
  for (const float value : test::normal_floats(size_t(kTokens * kK), seed))
    x.push_back(double(value));
  for (int64_t t = 0; t < kTokens; ++t)
    for (int64_t j = 1; j < kK; ++j)
      x[size_t(t * kK + j)] = 0.8 * x[size_t(t * kK + j - 1)] + 0.6 * x[size_t(t * kK + j)];
  return x;
}

std::vector<double> cross(const std::vector<double>& a, int64_t n, const std::vector<double>& b) {
  std::vector<double> sum(size_t(n * kK));
  for (int64_t t = 0; t < kTokens; ++t)
    for (int64_t i = 0; i < n; ++i)
      for (int64_t j = 0; j < kK; ++j)
        sum[size_t(i * kK + j)] += a[size_t(t * n + i)] * b[size_t(t * kK + j)];
  return sum;
}

// sum_t |W x_t + r_t - Ŵ x̂_t|^2
double output_error(const F64Linear& linear, const QuantizedWeight& rounded,
                    const std::vector<double>& x, const std::vector<double>& seen,
                    const std::vector<double>& missing = {}) {
  const std::vector<float> values = unpack(rounded);
  double total = 0;
  for (int64_t t = 0; t < kTokens; ++t)
    for (int64_t i = 0; i < kN; ++i) {
      double d = missing.empty() ? 0 : missing[size_t(t * kN + i)];
      for (int64_t j = 0; j < kK; ++j)
        d += linear.row(i)[j] * x[size_t(t * kK + j)] -
             double(values[size_t(i * kK + j)]) * seen[size_t(t * kK + j)];
      total += d * d;
    }
  return total;
}

TEST(Gptq, LosesLessThanRoundingToNearestInEveryScheme) {
  const F64Linear linear = random_linear(1);
  const std::vector<double> x = correlated(2);
  const InputStatistics inputs{.k = kK, .all = {.gram = cross(x, kK, x)}};
  for (const char* scheme :
       {"int4-g32", "int6-g64", "int8-channel", "lut4-g64", "lut4-g32-e4m3", "fp6e2m3-g32"}) {
    const WeightScheme weights = *weight_scheme_from_name(scheme);
    const double nearest =
        output_error(linear, round_to_nearest(linear, weights, ScaleRule::kLeastSquares), x, x);
    const double fed_back = output_error(linear, gptq(linear, weights, inputs, {}), x, x);
    EXPECT_LT(fed_back, 0.7 * nearest) << scheme;
  }
}

TEST(Gptq, WithIndependentInputsOfOneSizeRoundsToNearest) {
  const F64Linear linear = random_linear(3);
  InputStatistics inputs{.k = kK, .all = {.gram = std::vector<double>(size_t(kK * kK))}};
  for (int64_t j = 0; j < kK; ++j) inputs.all.gram[size_t(j * kK + j)] = 5;
  for (const WeightScheme& scheme : {kInt4, kProducts}) {
    const QuantizedWeight a = gptq(linear, scheme, inputs, {.refinements = 0});
    const QuantizedWeight b = round_to_nearest(linear, scheme, ScaleRule::kLeastSquares);
    EXPECT_TRUE(std::ranges::equal(a.packed.bytes(), b.packed.bytes()));
    EXPECT_TRUE(std::ranges::equal(a.scale.bytes(), b.scale.bytes()));
    EXPECT_EQ(a.global_scale, b.global_scale);
  }
}

TEST(Gptq, RefinedNeverLosesMore) {
  for (uint64_t seed = 10; seed < 15; ++seed) {
    const F64Linear linear = random_linear(seed);
    const std::vector<double> x = correlated(seed + 100);
    const InputStatistics inputs{.k = kK, .all = {.gram = cross(x, kK, x)}};
    for (const WeightScheme& scheme : {kInt4, kProducts}) {
      double before = INFINITY;
      for (const int refinements : {0, 1, 2, 4}) {
        // The damping is part of the aim that falls; nearly none of it leaves the sum over tokens.
        const GptqOptions options{.dampening_frac = 1e-9, .refinements = refinements};
        const double error = output_error(linear, gptq(linear, scheme, inputs, options), x, x);
        EXPECT_LE(error, before * (1 + 1e-9)) << name(scheme) << ", " << refinements;
        before = error;
      }
    }
  }
}

TEST(Gptq, AimsAtTheOriginalsOutputsWhereItsInputsHaveMoved) {
  const F64Linear linear = random_linear(4);
  const std::vector<double> x = correlated(5);
  std::vector<double> seen = x;
  for (size_t i = 0; i < seen.size(); ++i) seen[i] = 0.9 * x[i] + 0.05 * x[i ^ 1];
  const InputStatistics inputs{.k = kK,
                               .all = {.gram = cross(seen, kK, seen), .cross = cross(x, kK, seen)}};
  const double blind =
      output_error(linear, gptq(linear, kInt4, inputs, {.input_correction = 0}), x, seen);
  const double aimed = output_error(linear, gptq(linear, kInt4, inputs, {}), x, seen);
  EXPECT_LT(aimed, 0.5 * blind);
}

TEST(Gptq, TakesTheOriginalsOutputsForItsInputs) {
  const F64Linear linear = random_linear(4);
  const std::vector<double> x = correlated(5), seen = correlated(6);
  std::vector<double> y(size_t(kTokens * kN));
  for (int64_t t = 0; t < kTokens; ++t)
    for (int64_t i = 0; i < kN; ++i)
      for (int64_t j = 0; j < kK; ++j)
        y[size_t(t * kN + i)] += linear.row(i)[j] * x[size_t(t * kK + j)];
  const std::vector<double> gram = cross(seen, kK, seen);
  const QuantizedWeight by_inputs =
      gptq(linear, kInt4, {.k = kK, .all = {.gram = gram, .cross = cross(x, kK, seen)}}, {});
  const QuantizedWeight by_outputs =
      gptq(linear, kInt4, {.k = kK, .all = {.gram = gram, .outputs = cross(y, kN, seen)}}, {});
  EXPECT_EQ(unpack(by_inputs), unpack(by_outputs));
}

TEST(Gptq, MakesUpForWhatTheResidualStreamLacksAsFarAsItsInputsSay) {
  const F64Linear linear = random_linear(6), shift = random_linear(7);
  const std::vector<double> x = correlated(8);
  std::vector<double> missing(size_t(kTokens * kN));  // 0.1 shift x
  for (int64_t t = 0; t < kTokens; ++t)
    for (int64_t i = 0; i < kN; ++i)
      for (int64_t j = 0; j < kK; ++j)
        missing[size_t(t * kN + i)] += 0.1 * shift.row(i)[j] * x[size_t(t * kK + j)];
  const InputStatistics inputs{.k = kK,
                               .all = {.gram = cross(x, kK, x), .residual = cross(missing, kN, x)}};
  const auto error = [&](double correction) {
    return output_error(linear, gptq(linear, kInt4, inputs, {.residual_correction = correction}), x,
                        x, missing);
  };
  EXPECT_LT(error(0.5), 0.7 * error(0));
  EXPECT_LT(error(1), 0.7 * error(0.5));
}

TEST(Gptq, MakesUpForNothingThatHalvesOfTheTokensContradict) {
  const F64Linear linear = random_linear(16);
  const std::vector<double> x = correlated(17), gram = cross(x, kK, x);
  InputStatistics inputs{.k = kK, .all = {.gram = gram, .cross = gram}};
  inputs.half = inputs.all;
  for (double& sum : inputs.half->gram) sum /= 2;
  for (double& sum : inputs.half->cross) sum = 0.7 * sum;  // the other half's is 0.35 of the gram
  for (double& sum : inputs.all.cross) sum *= 1.05;
  const std::vector<float> blind = unpack(gptq(linear, kInt4, inputs, {.input_correction = 0}));
  EXPECT_EQ(unpack(gptq(linear, kInt4, inputs, {})), blind);
  inputs.half.reset();
  EXPECT_NE(unpack(gptq(linear, kInt4, inputs, {})), blind);
}

// 40 tokens for 64 inputs, which are independent: nothing of their gram holds for others.
TEST(Gptq, OfAShrunkGramLosesLessOnOtherTokens) {
  const F64Linear linear = random_linear(18);
  std::vector<double> few(size_t(kTokens * kK)), others;
  const std::vector<float> drawn = test::normal_floats(size_t(40 * kK), 19);
  std::copy(drawn.begin(), drawn.end(), few.begin());
  for (const float value : test::normal_floats(size_t(kTokens * kK), 20))
    others.push_back(double(value));
  InputStatistics inputs{.k = kK, .all = {.gram = cross(few, kK, few)}};
  const auto error = [&] {
    return output_error(linear, gptq(linear, kInt4, inputs, {}), others, others);
  };
  const double as_it_is = error();
  inputs.shrinkage = 1;
  EXPECT_LT(error(), 0.7 * as_it_is);
}

TEST(Gptq, OfInputsThatAreAlwaysZeroStillRounds) {
  const F64Linear linear = random_linear(9);
  const InputStatistics inputs{.k = kK, .all = {.gram = std::vector<double>(size_t(kK * kK))}};
  const std::vector<float> values = unpack(gptq(linear, kInt4, inputs, {}));
  for (size_t i = 0; i < values.size(); ++i)
    EXPECT_NEAR(double(values[i]), linear.weight[i], 1.0) << i;  // a step of 3.5 sigma / 7, doubled
}

// Rows of tiny weights, of huge ones, and of both.
F64Linear of_all_sizes() {
  F64Linear linear = random_linear(11);
  for (int64_t i = 0; i < kN; ++i)
    for (int64_t j = 0; j < kK; ++j)
      linear.row(i)[j] *= (i % 3 == 0 || (i % 3 == 1 && j < 32)) ? 1e-3 : 60;
  return linear;
}

TEST(Gptq, OfProductsLosesLessThanRoundingToNearestWhereTheirSizesDiffer) {
  const F64Linear linear = of_all_sizes();
  const std::vector<double> x = correlated(12);
  const InputStatistics inputs{.k = kK, .all = {.gram = cross(x, kK, x)}};
  const double nearest =
      output_error(linear, round_to_nearest(linear, kProducts, ScaleRule::kLeastSquares), x, x);
  EXPECT_LT(output_error(linear, gptq(linear, kProducts, inputs, {}), x, x), 0.7 * nearest);
}

TEST(Gptq, OfProductsNeverLetsThemSaturate) {
  const std::vector<double> x = correlated(13);
  const InputStatistics inputs{.k = kK, .all = {.gram = cross(x, kK, x)}};
  for (const F64Linear& linear : {random_linear(14), of_all_sizes()}) {
    const QuantizedWeight q = gptq(linear, kProducts, inputs, {.refinements = 8});
    for (const float scale : q.scale.to_float())
      EXPECT_LE(kLut4Max * scale * q.global_scale, kFp8Max);
  }
}

TEST(Gptq, OfZerosInProductsIsZeros) {
  const std::vector<double> x = correlated(15);
  const InputStatistics inputs{.k = kK, .all = {.gram = cross(x, kK, x)}};
  const F64Linear zeros{.n = kN, .k = kK, .weight = std::vector<double>(size_t(kN * kK))};
  for (const float value : unpack(gptq(zeros, kProducts, inputs, {}))) EXPECT_EQ(value, 0);
}

}  // namespace
}  // namespace emberq::gptq_test
