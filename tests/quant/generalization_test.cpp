// What a text says of the text to come, held against definitions and other tokens of its source.
#include "quant/rounding/generalization.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "quant/rounding/linear_algebra.h"
#include "support/random.h"

namespace emberq::generalization_test {
namespace {

constexpr int64_t kN = 24, kK = 48;

// Independent tokens [tokens, k] of unit variance.
std::vector<float> tokens(int64_t count, uint64_t seed) {
  return test::normal_floats(size_t(count * kK), seed);
}

// The same of a few strong directions.
std::vector<float> correlated(int64_t count, uint64_t seed) {
  std::vector<float> x = tokens(count, seed);
  for (int64_t t = 0; t < count; ++t)
    for (int64_t j = 1; j < kK; ++j)
      x[size_t(t * kK + j)] = 0.95f * x[size_t(t * kK + j - 1)] + 0.3f * x[size_t(t * kK + j)];
  return x;
}

std::vector<double> gram(const std::vector<float>& x) {
  std::vector<double> sum;
  add_gram(x.data(), int64_t(x.size()) / kK, kK, sum);
  return sum;
}

std::vector<double> scaled(std::vector<double> m, double factor) {
  for (double& x : m) x *= factor;
  return m;
}

// The estimate's α as its authors write it, token by token; their tokens are all different.
double by_definition(const std::vector<float>& x, int64_t distinct) {
  const int64_t count = int64_t(x.size()) / kK;
  const std::vector<double> s = scaled(gram(x), 1 / double(count));
  double mean = 0, noise = 0, distance = 0;
  for (int64_t j = 0; j < kK; ++j) mean += s[size_t(j * kK + j)] / double(kK);
  for (int64_t i = 0; i < kK; ++i)
    for (int64_t j = 0; j < kK; ++j) {
      const double here = s[size_t(i * kK + j)], flat = i == j ? mean : 0;
      distance += (here - flat) * (here - flat);
      for (int64_t t = 0; t < count; ++t) {
        const double d = double(x[size_t(t * kK + i)]) * double(x[size_t(t * kK + j)]) - here;
        noise += d * d / double(count * (distinct - 1));
      }
    }
  return std::min(1.0, noise / distance);
}

double fourth_powers(const std::vector<float>& x) {
  double sum = 0;
  for (size_t t = 0; t < x.size(); t += kK) {
    double square = 0;
    for (size_t j = t; j < t + kK; ++j) square += double(x[j]) * double(x[j]);
    sum += square * square;
  }
  return sum;
}

double shrinkage(const std::vector<float>& x, int64_t distinct) {
  return gram_shrinkage(gram(x), fourth_powers(x), int64_t(x.size()) / kK, distinct, kK);
}

TEST(GramShrinkage, IsLedoitAndWolfs) {
  for (const int64_t count : {2, 3, 20, 300}) {
    const std::vector<float> x = correlated(count, 1);
    EXPECT_NEAR(shrinkage(x, count), by_definition(x, count), 1e-5) << count;
  }
}

TEST(GramShrinkage, OfTokensThatComeAgainIsThatOfTheDifferentOnes) {
  std::vector<float> x = correlated(20, 2);
  const double once = shrinkage(x, 20);
  for (int times = 1; times < 4; ++times) x.insert(x.end(), x.begin(), x.begin() + 20 * kK);
  EXPECT_NEAR(shrinkage(x, 20), once, 1e-5);
}

TEST(GramShrinkage, OfASingleTokenIsWhole) {
  EXPECT_EQ(shrinkage(correlated(1, 4), 1), 1);
  EXPECT_EQ(shrinkage(correlated(30, 4), 1), 1);  // the same one in different contexts
}

TEST(GramShrinkage, OfInputsThatAreAlwaysZeroIsWhole) {
  EXPECT_EQ(shrinkage(std::vector<float>(size_t(10 * kK)), 10), 1);
}

TEST(GramShrinkage, OfInputsOfOneSizeInEveryDirectionIsWhole) {
  std::vector<float> x(size_t(kK * kK));
  for (int64_t j = 0; j < kK; ++j) x[size_t(j * kK + j)] = 3;
  EXPECT_EQ(shrinkage(x, kK), 1);
}

// The square error of (1 - α) G + α m I against the source's moments, over 20 texts of 64 tokens
// of independent channels of different sizes: less than that of G and of m I alone.
TEST(GramShrinkage, BringsTheMomentsNearerToTheSources) {
  const auto size = [](int64_t j) { return 0.5f + float(j) / float(kK); };
  std::vector<double> source(size_t(kK * kK));
  for (int64_t j = 0; j < kK; ++j) source[size_t(j * kK + j)] = double(size(j) * size(j));
  double shrunk = 0, as_it_is = 0, flat = 0;
  for (uint64_t seed = 10; seed < 30; ++seed) {
    std::vector<float> x = tokens(64, seed);
    for (size_t i = 0; i < x.size(); ++i) x[i] *= size(int64_t(i) % kK);
    const std::vector<double> s = scaled(gram(x), 1.0 / 64);
    const double alpha = shrinkage(x, 64);
    double mean = 0;
    for (int64_t j = 0; j < kK; ++j) mean += s[size_t(j * kK + j)] / double(kK);
    for (int64_t i = 0; i < kK * kK; ++i) {
      const double g = s[size_t(i)], m = i % (kK + 1) ? 0 : mean, aim = source[size_t(i)];
      const double estimate = (1 - alpha) * g + alpha * m;
      shrunk += (estimate - aim) * (estimate - aim);
      as_it_is += (g - aim) * (g - aim);
      flat += (m - aim) * (m - aim);
    }
  }
  EXPECT_LT(shrunk, as_it_is);
  EXPECT_LT(shrunk, flat);
}

struct Sums {
  std::vector<double> gram, cross;
  operator Lacking() const { return {gram, cross}; }
};

// What outputs lack: a matrix of the inputs, and noise of this size.
struct Source {
  std::vector<float> d = test::normal_floats(size_t(kN * kK), 5, 0.1f);
  float noise = 0;

  std::vector<float> lacking(const std::vector<float>& x, uint64_t seed) const {
    const int64_t count = int64_t(x.size()) / kK;
    std::vector<float> e = test::normal_floats(size_t(count * kN), seed, noise);
    for (int64_t t = 0; t < count; ++t)
      for (int64_t i = 0; i < kN; ++i)
        for (int64_t j = 0; j < kK; ++j)
          e[size_t(t * kN + i)] += d[size_t(i * kK + j)] * x[size_t(t * kK + j)];
    return e;
  }
  Sums sums(int64_t count, uint64_t seed) const {
    const std::vector<float> x = correlated(count, seed), e = lacking(x, seed + 1000);
    Sums result{.gram = gram(x)};
    add_cross(e.data(), kN, x.data(), kK, count, result.cross);
    return result;
  }
};

TEST(CorrectionShare, OfWhatInputsExplainIsWhole) {
  const Source source;
  EXPECT_NEAR(correction_share(source.sums(200, 20), source.sums(200, 21), kN, kK, 1e-6), 1, 1e-3);
}

TEST(CorrectionShare, OfWhatTheHalvesContradictIsNone) {
  const Sums a = Source().sums(200, 22);
  EXPECT_EQ(correction_share(a, Sums{a.gram, scaled(a.cross, -1)}, kN, kK, 0.01), 0);
}

TEST(CorrectionShare, WhereNothingLacksOrAHalfIsEmptyIsNone) {
  const Sums a = Source().sums(200, 23);
  const Sums whole{a.gram, std::vector<double>(size_t(kN * kK))};
  const Sums empty{std::vector<double>(size_t(kK * kK)), std::vector<double>(size_t(kN * kK))};
  EXPECT_EQ(correction_share(whole, whole, kN, kK, 0.01), 0);
  EXPECT_EQ(correction_share(a, empty, kN, kK, 0.01), 0);
  EXPECT_EQ(correction_share(empty, a, kN, kK, 0.01), 0);
}

// sum |e - c D x|^2 over other tokens of the source, by the definition.
double error_elsewhere(const Source& source, const std::vector<double>& d, double c) {
  const std::vector<float> x = correlated(2000, 31), e = source.lacking(x, 32);
  double total = 0;
  for (int64_t t = 0; t < 2000; ++t)
    for (int64_t i = 0; i < kN; ++i) {
      double left = double(e[size_t(t * kN + i)]);
      for (int64_t j = 0; j < kK; ++j)
        left -= c * d[size_t(i * kK + j)] * double(x[size_t(t * kK + j)]);
      total += left * left;
    }
  return total;
}

TEST(CorrectionShare, IsBetterOnOtherTokensThanAllAndThanNothing) {
  Source source;
  source.noise = 3;
  const Sums a = source.sums(100, 24), b = source.sums(100, 25);
  std::vector<double> g = a.gram, e = a.cross;
  for (size_t i = 0; i < g.size(); ++i) g[i] += b.gram[i];
  for (size_t i = 0; i < e.size(); ++i) e[i] += b.cross[i];
  const std::vector<double> d = solve_right(e, damped(g, kK, 0.01), kN, kK);
  const double share = correction_share(a, b, kN, kK, 0.01);
  const double error = error_elsewhere(source, d, share);
  EXPECT_LT(error, error_elsewhere(source, d, 0));
  EXPECT_LT(error, error_elsewhere(source, d, 1));
}

}  // namespace
}  // namespace emberq::generalization_test
