#pragma once

namespace emberq::device {

struct Sum {
  static __device__ float join(float a, float b) { return a + b; }
};
struct Max {
  static __device__ float join(float a, float b) { return fmaxf(a, b); }
};

// All values of a block of kThreads joined, in every thread, in an order that does not change. May
// be called again in the same kernel.
template <class Operation, int kThreads>
__device__ float block_reduce(float value) {
  static_assert(kThreads % 32 == 0 && kThreads <= 1024);
  for (int offset = 16; offset > 0; offset /= 2)
    value = Operation::join(value, __shfl_xor_sync(0xffffffff, value, offset));

  __shared__ float warps[kThreads / 32];
  __syncthreads();  // a call before this one has been read
  if (threadIdx.x % 32 == 0) warps[threadIdx.x / 32] = value;
  __syncthreads();

  float result = warps[0];
#pragma unroll
  for (int warp = 1; warp < kThreads / 32; ++warp) result = Operation::join(result, warps[warp]);
  return result;
}

}  // namespace emberq::device
