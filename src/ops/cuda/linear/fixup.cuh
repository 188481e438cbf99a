#pragma once

#include <algorithm>
#include <cstdint>

#include "ops/cuda/linear/barriers.cuh"
#include "ops/cuda/linear/tile_scheduler.h"
#include "ops/cuda/ptx/registers.cuh"

namespace emberq::cuda {

// The stream-K fixup: partial sums, in global memory, of tiles whose beginning another cluster has
// (tile_scheduler.h). A math warpgroup stores its sums. The same threads of the same warpgroup in
// the cluster with the beginning of the tile load them.
//
// A separate warp publishes the flag: its release store takes one or two k-steps to become visible,
// and math warps must not wait for it.
template <int kCluster, int kMathWarpgroups, int kAccumulators>
struct PartialSums {
  using Accumulators = float[kAccumulators];  // of a thread

  float* partial;  // [CTAs][kMathWarpgroups][kAccumulators][128]
  // [CTAs][kMathWarpgroups]: 2 r + 1 if the partial sum of round r is there, 2 r if it is not yet,
  // and 0 after the last round.
  int* flags;

  __device__ void store_partial(const WorkTile& work, int warpgroup,
                                const Accumulators& sum) const {
    const int slot = slot_of(int(blockIdx.x), warpgroup);
    if (work.round > 0) {  // wait until the partial sum of the previous round has been read
      if (ptx::reload_thread_index() % 128 == 0) wait_for(flags + slot, 2 * work.round);
      warpgroup_sync(warpgroup);
    }
    float* to = partial_of(slot);
#pragma unroll
    for (int c = 0; c < kAccumulators; ++c) __stcg(to + c * 128, sum[c]);
    ptx::named_barrier_arrive(Bar::signal(warpgroup), Bar::kSignalThreads);
  }

  // Run by signal warp `warp` of kSignalWarps, for every kSignalWarps-th math warpgroup.
  static constexpr int kSignalWarps = kMathWarpgroups < 3 ? kMathWarpgroups : 3;
  __device__ void signal(const TileScheduler& scheduler, int warp) const {
    WorkTile work;
    for (int i = 0; scheduler.work_tile(int(blockIdx.x), i, work); ++i)
      for (int warpgroup = warp; work.k_begin > 0 && warpgroup < kMathWarpgroups;
           warpgroup += kSignalWarps) {
        ptx::named_barrier_sync(Bar::signal(warpgroup), Bar::kSignalThreads);
        if (threadIdx.x % 32 == 0)
          ptx::store_release(flags + slot_of(int(blockIdx.x), warpgroup), 2 * work.round + 1);
      }
  }

  // Adds the partial sums of the next clusters to a tile whose end they have.
  __device__ void fixup(const TileScheduler& scheduler, const WorkTile& work, int warpgroup,
                        Accumulators& sum) const {
    const int thread = ptx::reload_thread_index() % 128, cluster = int(blockIdx.x);
    int parts = 0;
    for (int k = work.k_end; k < scheduler.k_tiles; ++parts)
      k += scheduler.range_begin(cluster + parts + 2) - scheduler.range_begin(cluster + parts + 1);
    const auto slot = [&](int part) { return slot_of(cluster + part + 1, warpgroup); };
    for (int part = thread; part < parts; part += 128)
      wait_for(flags + slot(part), 2 * work.round + 1);
    warpgroup_sync(warpgroup);
    // As many as there are registers for: each round waits for memory once.
    constexpr int kAtOnce = std::clamp(48 / kAccumulators, 1, 8);
    for (int first = 0; first < parts; first += kAtOnce) {
      float others[kAtOnce][kAccumulators];
#pragma unroll
      for (int i = 0; i < kAtOnce; ++i) {
        const float* from = partial_of(slot(min(first + i, parts - 1)));
#pragma unroll
        for (int c = 0; c < kAccumulators; ++c) others[i][c] = __ldcg(from + c * 128);
      }
#pragma unroll
      for (int i = 0; i < kAtOnce; ++i)
        if (first + i < parts) {
#pragma unroll
          for (int c = 0; c < kAccumulators; ++c) sum[c] += others[i][c];
        }
    }
    warpgroup_sync(warpgroup);
    // After the last round a plain store is enough: the next reader is the next kernel, and the end
    // of a kernel orders memory.
    const int next = work.round + 1;
    for (int part = thread; part < parts; part += 128)
      if (next < scheduler.rounds)
        ptx::store_release(flags + slot(part), 2 * next);
      else
        flags[slot(part)] = 0;
  }

 private:
  using Bar = Barriers<kMathWarpgroups>;
  // The slot of a warpgroup of this CTA, or of the CTA with the same rank in another cluster.
  static __device__ int slot_of(int cluster, int warpgroup) {
    return (cluster * kCluster + int(blockIdx.y)) * kMathWarpgroups + warpgroup;
  }
  __device__ float* partial_of(int slot) const {
    return partial + int64_t(slot) * kAccumulators * 128 + ptx::reload_thread_index() % 128;
  }
  static __device__ void wait_for(const int* flag, int value) {
    while (ptx::load_acquire(flag) != value) {
    }
  }
};

}  // namespace emberq::cuda
