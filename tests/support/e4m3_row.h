#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "format/fp8.h"
#include "support/tolerance.h"

namespace emberq::test {

// Whether scale and codes are those of a row of numbers that are within slack[c] of y[c].
inline testing::AssertionResult are_codes_of(const std::vector<double>& y,
                                             const std::vector<double>& slack, float scale,
                                             const uint8_t* codes) {
  double absmax = 0, largest_slack = 0;
  for (size_t c = 0; c < y.size(); ++c) {
    absmax = std::max(absmax, std::abs(y[c]));
    largest_slack = std::max(largest_slack, slack[c]);
  }
  const double expected = absmax > 0 ? absmax / 448 : 1;
  const double scale_slack = (absmax > 0 ? largest_slack / 448 : 0) + rounding(expected, 24);
  if (!(std::abs(double(scale) - expected) <= scale_slack))
    return testing::AssertionFailure() << "scale " << scale << ", expected " << expected;
  for (size_t c = 0; c < y.size(); ++c) {
    // Any code that a value within the slack would have got, once divided: rounding is monotonic.
    const double within = slack[c] + rounding(y[c], 24);
    const float low = fp8_round((y[c] - within) / double(scale)),
                high = fp8_round((y[c] + within) / double(scale)), got = fp8_decode(codes[c]);
    if (!(low <= got && got <= high))
      return testing::AssertionFailure() << "column " << c << ": " << got << " times " << scale
                                         << " for " << y[c] << " within " << within;
  }
  return testing::AssertionSuccess();
}

}  // namespace emberq::test
