#pragma once

#include <bit>
#include <cmath>
#include <cstdint>

namespace emberq::test {

// Whether a is a square modulo the prime q, by Euler's criterion; 0 is one.
inline bool is_square(int64_t a, int64_t q) {
  int64_t power = 1;
  for (int64_t i = 0; i < (q - 1) / 2; ++i) power = power * a % q;
  return power <= 1;
}

// Entry [i, j] of the transform of n channels in blocks of paley * width, by the words of
// format/hadamard.h.
inline double hadamard_entry(int64_t i, int64_t j, int64_t paley, int64_t width) {
  const int64_t size = paley * width;
  if (i / size != j / size) return 0;
  double sign = std::popcount(uint64_t(i % width & j % width)) % 2 ? -1 : 1;
  const int64_t row = i % size / width, column = j % size / width;
  if (row >= 1 && column >= 1 && is_square((row + column - 2) % (paley - 1), paley - 1))
    sign = -sign;
  return sign / std::sqrt(double(size));
}

}  // namespace emberq::test
