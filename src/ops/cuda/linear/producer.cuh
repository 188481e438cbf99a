#pragma once

#include <cuda.h>

#include <algorithm>

#include "ops/cuda/linear/tile_order.h"
#include "ops/cuda/linear/tile_scheduler.h"
#include "ops/cuda/ptx/cluster.cuh"
#include "ops/cuda/ptx/pipeline.cuh"

namespace emberq::cuda {

// The one thread of a block that keeps the ring of W4LinearKernel's stages full, across tiles.
template <class Kernel>
class W4Loader {
 public:
  using Args = typename Kernel::Args;
  using Shared = typename Kernel::Shared;

  static __device__ void run(const Args& a, const Shared& shared) {
    const uint64_t once = device::evict_first(), often = device::evict_last();
    device::prefetch(a.x);
    // No kernel writes weights: the first of them are on their way while the kernel before this one
    // still works on the tokens. Where both have room on a multiprocessor, all that the ring holds;
    // else no more than hide their latency, or that kernel's end waits for them.
    constexpr int kEarlyStages = Kernel::kBlocks > 1 ? Kernel::kStages : 4;
    int filled = 0;
    for (Steps s(a); s.more() && filled < kEarlyStages; s.next(), ++filled)
      load_weights(a, shared, filled, s.piece(), once);
    Steps s(a);
    device::wait_for_dependencies();
    if constexpr (Kernel::kCluster > 1) device::cluster_wait();
    typename Kernel::Ring ring;
    for (; s.more(); s.next(), ring.advance()) {
      if (--filled < 0) {
        shared.empty_of(ring.stage).wait(ring.parity ^ 1);
        load_weights(a, shared, ring.stage, s.piece(), once);
      }
      load_tokens(a, shared, ring.stage, s.piece(), often);
    }
  }

 private:
  // The steps of this block's pieces one after the other.
  class Steps {
   public:
    __device__ explicit Steps(const Args& a) : a_(a) { more_ = Kernel::piece_of(a, 0, piece_); }
    __device__ bool more() const { return more_; }
    __device__ const device::W4Piece& piece() const { return piece_; }  // from this step on
    __device__ void next() {
      if (++piece_.k == piece_.k_end) more_ = Kernel::piece_of(a_, ++j_, piece_);
    }

   private:
    const Args& a_;
    device::W4Piece piece_;
    int j_ = 0;
    bool more_;
  };

  static __device__ void load_weights(const Args& a, const Shared& shared, int stage,
                                      const device::W4Piece& piece, uint64_t hint) {
    const device::Barrier full = shared.full_of(stage);
    full.arrive_and_expect(Kernel::kWeightBytes + Kernel::kXBytes);
    const int rows = min(Kernel::row_block(piece), a.row_blocks - 1);  // a cluster may reach past W
    device::copy_bulk(
        shared.weights + stage * Kernel::kWeightBytes,
        a.tiles + (int64_t(rows) * a.schedule.k_tiles + piece.k) * Kernel::kWeightBytes,
        Kernel::kWeightBytes, full, hint);
  }
  // This block's part of the tokens, to all blocks of the cluster.
  static __device__ void load_tokens(const Args& a, const Shared& shared, int stage,
                                     const device::W4Piece& piece, uint64_t hint) {
    const device::Barrier full = shared.full_of(stage);
    const uint32_t to = shared.x + stage * Kernel::kXBytes;
    const int column = piece.k * device::kW4Inputs, token = piece.token_tile * Kernel::kTokens;
    if constexpr (Kernel::kCluster == 1) {
      device::copy_box(to, a.x, column, token, full, hint);
    } else {
      const int rank = int(blockIdx.y);
      device::copy_box_to_all(to + rank * (Kernel::kXBytes / Kernel::kCluster), a.x, column,
                              token + rank * (Kernel::kTokens / Kernel::kCluster), full, hint,
                              Kernel::kCluster);
    }
  }
};

}  // namespace emberq::cuda
