#pragma once

#include "ops/cuda/rows/vector.cuh"

// The Hadamard transform of format/hadamard.h, with the same sums in the same order, on 1024
// columns in the registers of a warp.
namespace emberq::cuda {

// The order in which a warp loads its columns: a lane has four vectors, v = lane, lane + 32, ...
struct WarpVectors {
  static constexpr int kCount = 4;
  static constexpr int kOfWarp = 128;

  int first;    // vector of the warp
  int vectors;  // in the row

  // The same interface as Strided.
  __device__ bool whole() const { return first + kOfWarp <= vectors; }
  template <class Visit>
  __device__ void operator()(const Visit& visit) const {
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      const int v = first + int(threadIdx.x % 32) + 32 * i;
      visit(i, v, v < vectors);
    }
  }
};

// The order in which warp_hadamard() leaves them: a lane has eight vectors of four columns,
// f = lane % 16 + 128 (lane / 16) + 16 i.
struct TransformedFours {
  static constexpr int kCount = 8;
  static constexpr int kOfWarp = 256;

  int first;  // vector of the warp
  int fours;  // in the row

  __device__ bool whole() const { return first + kOfWarp <= fours; }
  template <class Visit>
  __device__ void operator()(const Visit& visit) const {
    const unsigned lane = threadIdx.x % 32;
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      const int f = first + int(lane % 16 + 128 * (lane / 16)) + 16 * i;
      visit(i, f, f < fours);
    }
  }
};

// Up to three steps of the transform on 32 elements: between elements whose indices differ in the
// bit of kStride, then in the next bit, then in the one after. A branch around each single step
// would cost register moves at its end.
template <int kStride, class Element>
__device__ void hadamard_steps(int steps, const Element& element) {
  const auto step = [&](int stride) {
#pragma unroll
    for (int i = 0; i < 32; ++i)
      if (!(i & stride)) {
        float &a = element(i), &b = element(i | stride);
        const float sum = a + b, difference = a - b;
        a = sum, b = difference;
      }
  };
  if (steps >= 3) {
    step(kStride), step(2 * kStride), step(4 * kStride);
  } else if (steps == 2) {
    step(kStride), step(2 * kStride);
  } else if (steps == 1) {
    step(kStride);
  }
}

// Shared memory of a warp, in vectors of four: one vector of padding after every eight, so that
// eight lanes together use all banks.
inline constexpr int kHadamardFours = TransformedFours::kOfWarp * 9 / 8;

// Transforms every block of `size` columns, 2 ... 1024. `scale` is 1 / sqrt(size). All lanes call
// it. A step runs in registers if its two columns are in the same lane. Those are the steps of
// index bits 0 ... 2 as loaded, then of bits 3 ... 5 and 6 ... 8 after exchanges through `memory`.
// Bit 9 is a shuffle.
__device__ inline void warp_hadamard(Float8 (&x)[4], int size, float scale, float4* memory,
                                     Float4 (&y)[8]) {
  const unsigned lane = threadIdx.x % 32;
  const auto place = [&](unsigned four) { return memory + four + four / 8; };
  const auto element = [&](int e) -> float& { return y[e / 4].e[e % 4]; };
  const int steps = 31 - __clz(size);

  hadamard_steps<1>(steps, [&](int e) -> float& { return x[e / 8].e[e % 8]; });
  float4* const loaded = place(2 * lane);
#pragma unroll
  for (int i = 0; i < 4; ++i) loaded[72 * i] = x[i].raw[0], loaded[72 * i + 1] = x[i].raw[1];
  __syncwarp();

  float4* const middle = place(lane % 2 + 16 * (lane / 2));
#pragma unroll
  for (int i = 0; i < 8; ++i) y[i].raw = middle[2 * i + i / 4];
  hadamard_steps<4>(steps - 3, element);
#pragma unroll
  for (int i = 0; i < 8; ++i) middle[2 * i + i / 4] = y[i].raw;
  __syncwarp();

  const float4* const last = place(lane % 16 + 128 * (lane / 16));
#pragma unroll
  for (int i = 0; i < 8; ++i) y[i].raw = last[18 * i];
  hadamard_steps<4>(steps - 6, element);

  if (size == 1024) {
    const float sign = lane < 16 ? 1.0f : -1.0f;
#pragma unroll
    for (int e = 0; e < 32; ++e)
      element(e) = fmaf(sign, element(e), __shfl_xor_sync(0xffffffff, element(e), 16));
  }
#pragma unroll
  for (int e = 0; e < 32; ++e) element(e) *= scale;
}

}  // namespace emberq::cuda
