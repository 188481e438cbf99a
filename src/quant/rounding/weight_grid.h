#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

#include "base/error.h"
#include "format/scale.h"
#include "format/weight_code.h"

namespace emberq {

// The codes of a weight scheme, without scales: from a number to the nearest code's value and back.
class WeightGrid {
 public:
  explicit WeightGrid(const WeightScheme& scheme)
      : scheme_(scheme), max_((1 << (scheme.bits - 1)) - 1) {
    for (int u = 0; u < 1 << scheme.bits; ++u)
      values_.push_back(double(weight_code_value(scheme, u)));
  }

  const WeightScheme& scheme() const { return scheme_; }
  double max() const { return double(weight_code_max(scheme_)); }
  double value(int u) const { return values_[size_t(u)]; }

  // The stored code (format/weight_code.h) whose value is nearest to x.
  int encode(double x) const {
    switch (scheme_.code) {
      case WeightCode::kLut:
        return lut4_encode(x);
      case WeightCode::kFloat:
        return scheme_.bits == 8 ? fp8_encode(x) : e2m3_encode(x);
      default:
        return int(round_half_even(std::clamp(x, double(-max_ - 1), double(max_)))) + max_ + 1;
    }
  }
  double nearest(double x) const { return values_[size_t(encode(x))]; }

 private:
  static int e2m3_encode(double x) {
    const double magnitude = std::min(std::abs(x), double(kE2m3Max));
    const int exponent = magnitude < 2 ? 0 : magnitude < 4 ? 1 : 2;  // steps of 1/8, 1/4, 1/2
    const int steps = int(round_half_even(std::ldexp(magnitude, 3 - exponent)));
    // Eight steps lie under each power of two from 1 on; a carry into the next is the next code.
    return steps + 8 * exponent + (std::signbit(x) ? 32 : 0);
  }

  WeightScheme scheme_;
  int max_;
  std::vector<double> values_;  // by stored code
};

}  // namespace emberq
