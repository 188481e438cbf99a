#pragma once

#include "ops/cuda/ptx/cluster.cuh"

namespace emberq::cuda {

// A reduction: of two values, of the lanes of a warp, of up to 32 values in shared memory. All
// lanes get the result.
struct Sum {
  static __device__ float join(float a, float b) { return a + b; }
  static __device__ float join_lanes(float value) {
    for (int offset = 16; offset > 0; offset /= 2)
      value += __shfl_xor_sync(0xffffffff, value, offset);
    return value;
  }
  template <int kCount>
  static __device__ float join_all(const float* values) {
    float result = values[0];
#pragma unroll
    for (int i = 1; i < kCount; ++i) result += values[i];
    return result;
  }
};
struct Max {  // of magnitudes: their bits are ordered as they are
  static __device__ float join(float a, float b) { return fmaxf(a, b); }
  static __device__ float join_lanes(float value) {
    return __uint_as_float(__reduce_max_sync(0xffffffff, __float_as_uint(value)));
  }
  template <int kCount>
  static __device__ float join_all(const float* values) {
    if constexpr (kCount > 4) return join_lanes(values[min(threadIdx.x % 32, kCount - 1)]);
    float result = values[0];
#pragma unroll
    for (int i = 1; i < kCount; ++i) result = fmaxf(result, values[i]);
    return result;
  }
};

// Reduces one value of each thread of a CTA, in a fixed order. All threads get the result. A kernel
// calls it once for each Operation, since no barrier protects a second use of the shared memory.
template <class Operation, int kThreads>
__device__ float block_reduce(float value) {
  static_assert(kThreads % 32 == 0 && kThreads <= 1024);
  __shared__ float warps[kThreads / 32];
  value = Operation::join_lanes(value);
  if (threadIdx.x % 32 == 0) warps[threadIdx.x / 32] = value;
  __syncthreads();

  return Operation::template join_all<kThreads / 32>(warps);
}

// Reduces one value of each of a cluster's kCtas CTAs. `value` is the same in all threads of a CTA,
// and all threads get the result. A kernel calls it once. The kernel has begun with
// cluster_arrive(), so that no CTA writes to another that has not started.
template <class Operation, int kCtas>
__device__ float cluster_reduce(float value) {
  __shared__ float values[kCtas];
  ptx::cluster_wait();
  if (threadIdx.x < kCtas)
    ptx::st_shared_cluster_f32(
        ptx::map_shared_address(&values[ptx::cluster_cta_rank()], threadIdx.x), value);
  ptx::cluster_sync();
  float result = values[0];
#pragma unroll
  for (int cta = 1; cta < kCtas; ++cta) result = Operation::join(result, values[cta]);
  return result;
}

}  // namespace emberq::cuda
