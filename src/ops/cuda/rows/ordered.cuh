#pragma once

#include <cstdint>

namespace emberq::cuda {

// Unsigned numbers in the order of floats. Zeros of either sign are equal, NaN is the largest.
__device__ inline uint32_t ordered(float value) {
  const uint32_t bits = __float_as_uint(value == 0 ? 0.0f : value);
  return isnan(value) ? 0xffffffffu : bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}
__device__ inline float from_ordered(uint32_t number) {
  return __uint_as_float(number & 0x80000000u ? number & 0x7fffffffu : ~number);
}
inline constexpr uint32_t kOrderedInfinity = 0xff800000u, kOrderedMinusInfinity = 0x007fffffu;

// Larger for a larger value, and for the smaller column of equals.
__device__ inline uint64_t ordered(float value, int column) {
  return uint64_t(ordered(value)) << 32 | uint32_t(~column);
}

// The largest number of a warp's lanes, in all of them.
__device__ inline uint64_t largest_of_lanes(uint64_t number) {
  for (int offset = 16; offset > 0; offset /= 2)
    number = max(number, __shfl_xor_sync(0xffffffff, number, offset));
  return number;
}

}  // namespace emberq::cuda
