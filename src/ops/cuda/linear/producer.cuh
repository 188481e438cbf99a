#pragma once

#include <cuda.h>

#include "ops/cuda/linear/gemm_config.h"
#include "ops/cuda/ptx/cluster.cuh"
#include "ops/cuda/ptx/tma.cuh"

namespace emberq::cuda {

// The producer: one thread of a CTA, which keeps the stages of LinearKernel's pipeline full across
// tiles.
template <class Kernel>
class Producer {
 public:
  using Args = typename Kernel::Args;
  using Shared = typename Kernel::Shared;

  static __device__ void run(const Args& a, const Shared& shared) {
    const uint64_t evict_first = ptx::l2_evict_first(), evict_last = ptx::l2_evict_last();
    ptx::prefetch_tensormap(a.x);
    // No kernel writes weights, so their first loads start while the previous kernel still computes
    // the tokens. They only hide their latency: the last loads of the previous kernels would wait
    // behind more of them.
    constexpr int kPrologueStages = 4;
    int filled = 0;
    for (Steps s(a); s.more() && filled < kPrologueStages; s.next(), ++filled)
      load_weights(a, shared, filled, s.work(), evict_first);
    Steps s(a);
    a.start.wait_for_input();
    if constexpr (Kernel::kCluster > 1) ptx::cluster_wait();
    typename Kernel::State state;
    for (; s.more(); s.next(), state.advance()) {
      if (--filled < 0) {
        shared.empty_of(state.stage).wait(state.phase ^ 1);
        load_weights(a, shared, state.stage, s.work(), evict_first);
      }
      load_tokens(a, shared, state.stage, s.work(), evict_last);
    }
    a.start.end();
  }

 private:
  // The k-steps of all work tiles of this CTA, one after the other.
  class Steps {
   public:
    __device__ explicit Steps(const Args& a) : a_(a) { more_ = Kernel::work_tile(a, 0, work_); }
    __device__ bool more() const { return more_; }
    __device__ const WorkTile& work() const { return work_; }  // k_begin is this k-step
    __device__ void next() {
      if (++work_.k_begin == work_.k_end) more_ = Kernel::work_tile(a_, ++index_, work_);
    }

   private:
    const Args& a_;
    WorkTile work_;
    int index_ = 0;
    bool more_;
  };

  static __device__ void load_weights(const Args& a, const Shared& shared, int stage,
                                      const WorkTile& work, uint64_t cache_policy) {
    const ptx::Mbarrier full = shared.full_of(stage);
    full.arrive_expect_tx(Kernel::kWeightBytes + Kernel::kTokenBytes);
    const int rows = min(Kernel::row_block(work), a.row_blocks - 1);  // a cluster may pass W's end
    ptx::tma_load_1d(
        shared.weights + stage * Kernel::kWeightBytes,
        a.tiles + (int64_t(rows) * a.scheduler.k_tiles + work.k_begin) * Kernel::kWeightBytes,
        Kernel::kWeightBytes, full, cache_policy);
  }
  // Each CTA of a cluster loads its part of the tokens for all CTAs.
  static __device__ void load_tokens(const Args& a, const Shared& shared, int stage,
                                     const WorkTile& work, uint64_t cache_policy) {
    const ptx::Mbarrier full = shared.full_of(stage);
    const uint32_t to = shared.tokens + stage * Kernel::kTokenBytes;
    const int column = work.k_begin * kTileInputs, token = work.token_tile * Kernel::kTokens;
    if constexpr (Kernel::kCluster == 1) {
      ptx::tma_load_2d(to, a.x, column, token, full, cache_policy);
    } else {
      const int rank = int(blockIdx.y);
      ptx::tma_load_2d_multicast(to + rank * (Kernel::kTokenBytes / Kernel::kCluster), a.x, column,
                                 token + rank * (Kernel::kTokens / Kernel::kCluster), full,
                                 cache_policy, Kernel::kCluster);
    }
  }
};

}  // namespace emberq::cuda
