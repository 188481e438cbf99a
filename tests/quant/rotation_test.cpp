#include "quant/transform/rotation.h"

#include <gtest/gtest.h>

#include <cmath>

#include "format/hadamard.h"
#include "support/f64_linear.h"

namespace emberq::rotation_test {
namespace {

using test::random_linear;

std::vector<double> applied(const F64Linear& linear, const std::vector<double>& x) {
  std::vector<double> y = linear.bias;
  for (int64_t i = 0; i < linear.n; ++i)
    for (int64_t j = 0; j < linear.k; ++j) y[size_t(i)] += linear.row(i)[j] * x[size_t(j)];
  return y;
}

void expect_near(const std::vector<double>& a, const std::vector<double>& b) {
  ASSERT_EQ(a.size(), b.size());
  for (size_t i = 0; i < a.size(); ++i) EXPECT_NEAR(a[i], b[i], 1e-11) << i;
}

TEST(Hadamard, IsItsOwnInverseAndHasSylvestersSigns) {
  for (const int64_t n : {1, 2, 8, 128}) {
    std::vector<double> unit(static_cast<size_t>(n));
    for (int64_t j = 0; j < n; ++j) {
      std::fill(unit.begin(), unit.end(), 0.0);
      unit[size_t(j)] = 1;
      hadamard(unit.data(), n);
      for (int64_t i = 0; i < n; ++i) {
        const int sign = __builtin_popcountll(uint64_t(i & j)) % 2 ? -1 : 1;
        EXPECT_NEAR(unit[size_t(i)], sign / std::sqrt(double(n)), 1e-15);
      }
      hadamard(unit.data(), n);
      EXPECT_NEAR(unit[size_t(j)], 1, 1e-14);
    }
  }
}

TEST(RotationMatrix, IsOrthogonalAlsoWhereTheSizeIsNoPowerOfTwo) {
  for (const int64_t n : {1, 2, 12, 64, 80, 96}) {
    const std::vector<double> q = rotation_matrix(n);
    for (int64_t a = 0; a < n; ++a)
      for (int64_t b = 0; b <= a; ++b) {
        double dot = 0;
        for (int64_t i = 0; i < n; ++i) dot += q[size_t(a * n + i)] * q[size_t(b * n + i)];
        EXPECT_NEAR(dot, a == b ? 1 : 0, 1e-12) << n;
      }
  }
}

TEST(RotationMatrix, SpreadsOneChannelOverAll) {
  const std::vector<double> q = rotation_matrix(256);
  for (const double x : q) EXPECT_NEAR(std::abs(x), 1.0 / 16, 1e-12);
}

TEST(RotateResidual, GivesReadersTheSameAndWritersTheRotated) {
  constexpr int64_t kHidden = 12;
  F64Layer block;
  block.input_layernorm = {1, 2, 3, 1, 2, 3, 1, 2, 3, 1, 2, 3};
  block.post_attention_layernorm = {3, 2, 1, 3, 2, 1, 3, 2, 1, 3, 2, 1};
  for (const Projection module : kProjections) {
    const bool writes = module == Projection::kO || module == Projection::kDown;
    block[module] = random_linear(writes ? kHidden : 8, writes ? 8 : kHidden, uint64_t(module) * 9);
  }
  const F64Layer before = block;
  const std::vector<double> q = rotation_matrix(kHidden);
  rotate_residual(block, q);

  std::vector<double> h, rotated(kHidden);  // a normalized stream, and in the basis of Q
  for (const float x : test::normal_floats(kHidden, 77)) h.push_back(double(x));
  for (size_t j = 0; j < kHidden; ++j)
    for (size_t i = 0; i < kHidden; ++i) rotated[j] += h[i] * q[i * kHidden + j];
  for (const Projection module : {Projection::kQ, Projection::kV, Projection::kUp}) {
    const auto& norm =
        module == Projection::kUp ? before.post_attention_layernorm : before.input_layernorm;
    std::vector<double> x = h;
    for (size_t j = 0; j < kHidden; ++j) x[j] *= norm[j];
    expect_near(applied(block[module], rotated), applied(before[module], x));
  }
  EXPECT_EQ(block.input_layernorm, std::vector<double>(kHidden, 1.0));
  for (const Projection module : {Projection::kO, Projection::kDown}) {
    const std::vector<double> x = {1, -1, 2, 0.5, 0, 3, -2, 1}, y = applied(before[module], x);
    std::vector<double> expected(kHidden);
    for (size_t j = 0; j < kHidden; ++j)
      for (size_t i = 0; i < kHidden; ++i) expected[j] += y[i] * q[i * kHidden + j];
    expect_near(applied(block[module], x), expected);
  }
}

TEST(RotateValues, IsUndoneInOForEveryQueryHead) {
  ModelConfig config;
  config.num_heads = 4, config.num_kv_heads = 2, config.head_dim = 4;
  F64Layer block;
  block[Projection::kV] = random_linear(8, 6, 1);
  block[Projection::kO] = random_linear(6, 16, 2);
  const F64Layer before = block;
  rotate_values(block, config);
  const std::vector<double> x = {1, 2, -1, 0.5, 3, -2};
  const auto attended = [&](const F64Layer& b) {  // each query head passes its values on
    const std::vector<double> v = applied(b[Projection::kV], x);
    std::vector<double> out;
    for (size_t head = 0; head < 4; ++head)
      for (size_t c = 0; c < 4; ++c) out.push_back(double(head + 1) * v[head / 2 * 4 + c]);
    return applied(b[Projection::kO], out);
  };
  expect_near(attended(block), attended(before));
  EXPECT_NE(block[Projection::kV].weight, before[Projection::kV].weight);
}

TEST(RotateDownInputs, IsUndoneByTheTransformOfItsInput) {
  F64Layer block;
  block[Projection::kDown] = random_linear(3, 24, 5);
  const F64Layer before = block;
  rotate_down_inputs(block, 8);
  std::vector<double> x;
  for (const float value : test::normal_floats(24, 6)) x.push_back(double(value));
  std::vector<double> transformed = x;
  for (int64_t j = 0; j < 24; j += 8) hadamard(transformed.data() + j, 8);
  expect_near(applied(block[Projection::kDown], transformed),
              applied(before[Projection::kDown], x));
}

TEST(HadamardBlock, IsTheLargestPowerOfTwoThatDividesAndIsAllowed) {
  EXPECT_EQ(hadamard_block(14336, 512), 512);
  EXPECT_EQ(hadamard_block(11008, 512), 256);
  EXPECT_EQ(hadamard_block(96, 512), 32);
  EXPECT_EQ(hadamard_block(7, 512), 1);
}

}  // namespace
}  // namespace emberq::rotation_test
