#pragma once

namespace emberq::device {

// How two values become one, those of a warp's lanes, and up to 32 in memory; in all lanes.
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
struct Max {  // of magnitudes, whose bits are in their order
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

// All values of a block of kThreads joined, in every thread, in an order that does not change. Once
// in a kernel for each Operation: their shared memory is not waited for before it is written.
template <class Operation, int kThreads>
__device__ float block_reduce(float value) {
  static_assert(kThreads % 32 == 0 && kThreads <= 1024);
  __shared__ float warps[kThreads / 32];
  value = Operation::join_lanes(value);
  if (threadIdx.x % 32 == 0) warps[threadIdx.x / 32] = value;
  __syncthreads();

  return Operation::template join_all<kThreads / 32>(warps);
}

}  // namespace emberq::device
