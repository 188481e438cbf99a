#pragma once

#include "quant/layer/f64_layer.h"
#include "support/random.h"

namespace emberq::test {

// A linear of normal numbers, with a bias of them.
inline F64Linear random_linear(int64_t n, int64_t k, uint64_t seed) {
  F64Linear linear{.n = n, .k = k};
  for (const float x : normal_floats(size_t(n * k), seed)) linear.weight.push_back(double(x));
  for (const float x : normal_floats(size_t(n), seed + 100)) linear.bias.push_back(double(x));
  return linear;
}

}  // namespace emberq::test
