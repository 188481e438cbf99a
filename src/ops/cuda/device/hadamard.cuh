#pragma once

#include "ops/cuda/device/vector.cuh"

// The Hadamard transform of format/hadamard.h, sum for sum, on what a warp has in registers.
namespace emberq::device {

inline constexpr int kLargestHadamard = 1024;

// The vectors of a warp's 1024 columns that a lane has: its i-th of four is v = lane % 16 + 16 i +
// 64 (lane / 16). So a transform of up to 512 needs the other lanes in four of its nine steps; a
// warp still reads 256 bytes in a row.
struct WarpHadamardOrder {
  static constexpr int kVectors = 4;  // of a lane
  static constexpr int kVectorsOfWarp = 128;

  int first;    // of the warp
  int vectors;  // in the row

  // visit(i, v, inside), as by Strided.
  template <class Visit>
  __device__ void operator()(const Visit& visit) const {
    const int lane = int(threadIdx.x) % 32;
#pragma unroll
    for (int i = 0; i < kVectors; ++i) {
      const int v = first + lane % 16 + 16 * i + 64 * (lane / 16);
      visit(i, v, v < vectors);
    }
  }
};

__device__ inline void butterfly(float& a, float& b) {
  const float sum = a + b, difference = a - b;
  a = sum, b = difference;
}
// The same between registers of lanes that differ in one bit.
__device__ inline void butterfly_between_lanes(Float8 (&y)[4], int lane_bit) {
  const float sign = threadIdx.x & unsigned(lane_bit) ? -1.0f : 1.0f;
#pragma unroll
  for (int i = 0; i < 4; ++i)
#pragma unroll
    for (int j = 0; j < 8; ++j) {
      const float other = __shfl_xor_sync(0xffffffff, y[i].e[j], lane_bit);
      y[i].e[j] = fmaf(sign, y[i].e[j], other);
    }
}

// Every block of `size` columns, 2 ... 1024, in place; `scale` is 1 / sqrt(size). All lanes.
__device__ inline void warp_hadamard(Float8 (&y)[4], int size, float scale) {
#pragma unroll
  for (int half = 1; half < 8; half *= 2)
    if (half < size)
#pragma unroll
      for (int i = 0; i < 4; ++i)
#pragma unroll
        for (int j = 0; j < 8; ++j)
          if (!(j & half)) butterfly(y[i].e[j], y[i].e[j + half]);
#pragma unroll
  for (int half = 8; half < 128; half *= 2)
    if (half < size) butterfly_between_lanes(y, half / 8);
#pragma unroll
  for (int half = 128; half < 512; half *= 2)
    if (half < size)
#pragma unroll
      for (int i = 0; i < 4; ++i)
#pragma unroll
        for (int j = 0; j < 8; ++j)
          if (!(i & half / 128)) butterfly(y[i].e[j], y[i + half / 128].e[j]);
  if (size == 1024) butterfly_between_lanes(y, 16);
#pragma unroll
  for (int i = 0; i < 4; ++i)
#pragma unroll
    for (int j = 0; j < 8; ++j) y[i].e[j] *= scale;
}

}  // namespace emberq::device
