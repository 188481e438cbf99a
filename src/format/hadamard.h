#pragma once

#include <cmath>
#include <cstdint>

namespace emberq {

constexpr bool is_power_of_two(int64_t n) { return n > 0 && (n & (n - 1)) == 0; }

// x <- H x in place, H the n × n Hadamard matrix in Sylvester's order over sqrt(n): symmetric and
// its own inverse. n log2(n) additions and n products; n must be a power of two.
template <class T>
void hadamard(T* x, int64_t n) {
  for (int64_t half = 1; half < n; half *= 2)
    for (int64_t begin = 0; begin < n; begin += 2 * half)
      for (int64_t i = begin; i < begin + half; ++i) {
        const T a = x[i], b = x[i + half];
        x[i] = a + b;
        x[i + half] = a - b;
      }
  const T scale = T(1 / std::sqrt(double(n)));
  for (int64_t i = 0; i < n; ++i) x[i] *= scale;
}

}  // namespace emberq
