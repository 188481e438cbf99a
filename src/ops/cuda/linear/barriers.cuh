#pragma once

#include "ops/cuda/ptx/sync.cuh"

// The named barriers of LinearKernel's CTA: one for each math warpgroup, one for each warpgroup and
// its signal warp, and with sliced-K one for each pair of warpgroups with the same rows.
namespace emberq::cuda {

inline constexpr int kWarpgroupThreads = 128;

__device__ inline void warpgroup_sync(int warpgroup) {
  ptx::named_barrier_sync(1 + warpgroup, kWarpgroupThreads);
}

template <int kMathWarpgroups>
struct Barriers {
  static constexpr int kSignalThreads = kWarpgroupThreads + 32;
  static __device__ int signal(int warpgroup) { return 1 + kMathWarpgroups + warpgroup; }
  static __device__ int pair(int warpgroup) { return 1 + 2 * kMathWarpgroups + warpgroup; }
};

}  // namespace emberq::cuda
