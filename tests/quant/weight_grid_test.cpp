#include "quant/rounding/weight_grid.h"

#include <gtest/gtest.h>

#include <cmath>

#include "support/random.h"

namespace emberq::weight_grid_test {
namespace {

class Grid : public testing::TestWithParam<const char*> {};

// The nearest of all codes' values, found by looking at every one; NaN codes are none.
double nearest_by_search(const WeightGrid& grid, int codes, double x) {
  double best = NAN;
  for (int u = 0; u < codes; ++u)
    if (std::isfinite(grid.value(u)) && !(std::abs(grid.value(u) - x) >= std::abs(best - x)))
      best = grid.value(u);
  return best;
}

TEST_P(Grid, TakesTheNearestCode) {
  const WeightScheme scheme = *weight_scheme_from_name(GetParam());
  const WeightGrid grid(scheme);
  std::vector<double> values = {0, -0.0, grid.max(), -grid.max(), 2 * grid.max(), -2 * grid.max()};
  for (const float x : test::normal_floats(4000, 1)) values.push_back(double(x) * grid.max() / 2);
  for (const double x : values) {
    const double found = grid.nearest(x), best = nearest_by_search(grid, 1 << scheme.bits, x);
    EXPECT_EQ(std::abs(found - x), std::abs(best - x)) << x << " became " << found;
  }
}

TEST_P(Grid, KeepsEveryValueOfACode) {
  const WeightScheme scheme = *weight_scheme_from_name(GetParam());
  const WeightGrid grid(scheme);
  for (int u = 0; u < 1 << scheme.bits; ++u) {
    if (!std::isfinite(grid.value(u))) continue;
    EXPECT_EQ(grid.nearest(grid.value(u)), grid.value(u)) << u;
  }
}

INSTANTIATE_TEST_SUITE_P(Schemes, Grid,
                         testing::Values("int4-g128", "int6-g128", "int8-channel", "lut4-g128",
                                         "fp6e2m3-g128", "fp8e4m3-channel"),
                         [](const auto& p) {
                           std::string name = p.param;
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

}  // namespace
}  // namespace emberq::weight_grid_test
