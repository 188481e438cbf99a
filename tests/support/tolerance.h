#pragma once

#include <cmath>

namespace emberq::test {

// Bounds from the formats, not from runs: of first order, with one percent for the higher ones.

// A value rounded once to a format of `bits` mantissa bits, the implicit one included, and FP32's
// range of exponents: half a unit in the last place.
inline double rounding(double value, int bits) {
  return 1.01 * std::ldexp(std::abs(value), -bits) + std::ldexp(0x1p-126, -bits);
}

// A sum of terms whose magnitudes add up to `magnitude`, each term and partial sum rounded to FP32,
// through at most `depth` roundings on the way of any term.
inline double float_sum(double magnitude, int depth) { return depth * rounding(magnitude, 24); }

}  // namespace emberq::test
