#pragma once

#include <cmath>

namespace emberq::test {

// Bounds from the formats, not from runs.

// A value rounded once to a format of `bits` mantissa bits, the implicit one included: half a unit
// in the last place, relative.
inline double rounding(double value, int bits) { return std::ldexp(std::abs(value), -bits); }

// A sum of terms whose magnitudes add up to `magnitude`, each term and partial sum rounded to FP32,
// through at most `depth` roundings on the way of any term.
inline double float_sum(double magnitude, int depth) { return depth * 0x1p-24 * magnitude; }

}  // namespace emberq::test
