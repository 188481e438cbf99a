#pragma once

#include <algorithm>

#include "ops/cuda/linear/epilogue.cuh"
#include "ops/cuda/linear/fixup.cuh"
#include "ops/cuda/linear/gemm_config.h"
#include "ops/cuda/linear/mainloop.cuh"
#include "ops/cuda/linear/operand_format.h"
#include "ops/cuda/linear/pipeline.cuh"
#include "ops/cuda/linear/producer.cuh"
#include "ops/cuda/linear/start_order.cuh"
#include "ops/cuda/linear/tile_scheduler.h"
#include "ops/cuda/ptx/cluster.cuh"
#include "ops/cuda/ptx/registers.cuh"

namespace emberq::cuda {

// Quantized weights times e4m3 activations: a persistent, warp-specialized stream-K GEMM.
//
// The product is D^T = W X^T. Weights are operand A of wgmma and come from registers, where an
// operand (operand.cuh) expands them. Tokens are N of wgmma. A CTA computes tiles of 128 outputs
// (rows of W) by C.tokens tokens. The CTAs of a cluster have different rows and the same tokens.
//
// A producer thread keeps the stages of the pipeline full, across tiles. Each math warpgroup
// multiplies 64 rows. With sliced-K (C.k_warpgroups), two warpgroups have the same rows and take
// k-steps in turn, so that one expands while the other multiplies; that helps small token tiles.
// docs/kernels/w4a8.md has a picture and the measurements.
template <GemmConfig C, class TheOperand>
struct LinearKernel {
  using Operand = TheOperand;
  static constexpr GemmConfig kConfig = C;
  static constexpr int kMathWarpgroups = C.math_warpgroups();
  static constexpr int kThreads = 128 * (kMathWarpgroups + 1);
  static constexpr int kProducerWarp = 4 * kMathWarpgroups, kSignalWarp = kProducerWarp + 1;
  static constexpr int kMinBlocksPerSm = C.min_blocks_per_sm;
  static constexpr int kCluster = C.cluster, kTokens = C.tokens;
  static constexpr bool kUsesPdl = true;

  // Registers of a thread: at the start, in units of eight, and after the producer's warpgroup has
  // given some to the math warpgroups.
  static constexpr int kRegisters = (1 << 16) / (kMinBlocksPerSm * kThreads) / 8 * 8,
                       kProducerRegisters = C.k_warpgroups * kMinBlocksPerSm == 1 ? 40 : 32,
                       kMathRegisters =
                           std::min(232, (kRegisters * kThreads / 128 - kProducerRegisters) /
                                             kMathWarpgroups / 8 * 8);

  static constexpr int kWeightBytes = GemmConfig::kMWarpgroups * Operand::kTileBytes;
  static constexpr int kTokenBytes = C.tokens * kTileInputs;
  // Tokens that a math warpgroup finishes, and the registers of their sums.
  static constexpr int kOwnTokens = C.tokens / C.k_warpgroups, kAccumulators = kOwnTokens / 2;
  using Partials = PartialSums<kCluster, kMathWarpgroups, kAccumulators>;
  // Tokens of one TMA store, and the buffers in shared memory for them. A tile of few tokens is
  // stored from registers.
  static constexpr int kStoredTokens = kOwnTokens < 16    ? 0
                                       : kOwnTokens <= 32 ? 16
                                                          : 32,
                       kStoreBuffers = kOwnTokens == 16 ? 1 : 2;
  // Shared memory of a math warpgroup: outputs, or sums from the other warpgroup of sliced-K; and
  // token scales.
  static constexpr int kStagingBytes =
      std::max(kStoreBuffers * kStoredTokens * kTileRows * 2,
               C.k_warpgroups > 1 ? kAccumulators * 128 * int(sizeof(float)) : 0);
  static constexpr int kScalesBytes = kOwnTokens * int(sizeof(float));
  static constexpr int kAlignment = 1024;  // of the 128-byte swizzle
  // Dynamic shared memory of a CTA: of 228 KB, the system takes 1 KB, and a little is static.
  static constexpr int kSharedLimit = (228 << 10) / kMinBlocksPerSm - (1 << 10) - 64;
  static constexpr int kStageBytes = kTokenBytes + kWeightBytes + 16,
                       kOtherBytes = kMathWarpgroups * (kStagingBytes + kScalesBytes) + kAlignment;
  static constexpr int kStages = std::min(C.stages, (kSharedLimit - kOtherBytes) / kStageBytes);
  static constexpr int kSharedBytes = kStages * kStageBytes + kOtherBytes;
  using Shared = PipelineMemory;
  using State = PipelineState<kStages>;

  struct Args {
    CUtensorMap x, out;    // out: if epilogue.aligned()
    const uint8_t* tiles;  // [row blocks][k_tiles][kMWarpgroups]
    int row_blocks;
    TileScheduler scheduler;
    OperandParams operand;
    Partials partials;
    LinearEpilogue epilogue;
    StartOrder start;
  };

  // Work tile `index` of this CTA's cluster; false if there is none.
  static __device__ bool work_tile(const Args& a, int index, WorkTile& work) {
    return a.scheduler.work_tile(int(blockIdx.x), index, work);
  }
  // The 128 rows of this CTA in a work tile.
  static __device__ int row_block(const WorkTile& work) {
    return work.row_tile * kCluster + int(blockIdx.y);
  }

  static __device__ void run(const Args& a) {
    extern __shared__ uint8_t memory[];
    __shared__ ByteTable table;
    // The base address is made warp-uniform. Otherwise the compiler computes it before each use.
    const uint32_t tokens = uint32_t(ptx::warp_uniform(int(
                       (ptx::shared_address(memory) + kAlignment - 1) / kAlignment * kAlignment))),
                   staging = tokens + kStages * kTokenBytes,
                   token_scales = staging + kMathWarpgroups * kStagingBytes,
                   weights = token_scales + kMathWarpgroups * kScalesBytes,
                   full = weights + kStages * kWeightBytes, empty = full + kStages * 8;
    const Shared shared{
        tokens, weights, staging, token_scales, full, empty, ptx::shared_address(&table)};
    if (threadIdx.x == 0) {
      table = a.operand.table;
      for (int stage = 0; stage < kStages; ++stage) {
        shared.full_of(stage).init(1);
        shared.empty_of(stage).init(4 * GemmConfig::kMWarpgroups * kCluster);
      }
    }
    ptx::fence_mbarrier_init();
    if constexpr (kCluster > 1) ptx::cluster_arrive();
    a.start.begin();

    const int warp = ptx::warp_uniform(int(threadIdx.x) / 32), warpgroup = warp / 4;
    if (warpgroup == kMathWarpgroups) {
      ptx::setmaxnreg_dec<kProducerRegisters>();
      if (warp == kProducerWarp && threadIdx.x % 32 == 0) {
        Producer<LinearKernel>::run(a, shared);
      } else {
        if constexpr (kCluster > 1) ptx::cluster_wait();
        if (kSignalWarp <= warp && warp < kSignalWarp + Partials::kSignalWarps)
          a.partials.signal(a.scheduler, warp - kSignalWarp);
      }
    } else {
      ptx::setmaxnreg_inc<kMathRegisters>();
      if constexpr (kCluster > 1) ptx::cluster_wait();
      MathWarpgroup<LinearKernel>::run(a, shared, warpgroup);
    }
    // Until no other CTA uses this one's shared memory.
    if constexpr (kCluster > 1) ptx::cluster_sync();
  }
};

}  // namespace emberq::cuda
