#pragma once

#include <cmath>
#include <cstdint>
#include <random>
#include <vector>

namespace emberq::test {

// n normal numbers, the same on every machine.
inline std::vector<float> normal_floats(size_t n, uint64_t seed, float sigma = 1) {
  std::mt19937_64 random(seed);
  const auto uniform = [&] { return double((random() >> 11) + 1) * 0x1p-53; };
  std::vector<float> values(n);
  for (float& x : values)
    x = sigma *
        float(std::sqrt(-2 * std::log(uniform())) * std::cos(6.283185307179586 * uniform()));
  return values;
}

}  // namespace emberq::test
