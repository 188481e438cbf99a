#pragma once

#include "ops/cuda/linear/epilogue.cuh"
#include "ops/cuda/linear/gemm_config.h"
#include "ops/cuda/linear/k_slices.h"
#include "ops/cuda/linear/linear.h"
#include "ops/cuda/linear/operand.cuh"
#include "ops/cuda/linear/start_order.cuh"
#include "ops/cuda/linear/tile_order.h"
#include "ops/cuda/ptx/cp_async.cuh"
#include "ops/cuda/ptx/mma.cuh"
#include "ops/cuda/ptx/shared_memory.cuh"
#include "ops/cuda/runtime/launch.cuh"

// The product of up to 16 tokens with a weight of few rows. There are as many CTAs as there are
// slices of 16 rows; the warps of a CTA share the inputs, so no CTA waits for another's sums, which
// is most of LinearKernel's time on such weights. A slice is a quarter of a tile (tile_order.h),
// which a warp copies to shared memory ahead of its use, and the operands are LinearKernel's:
//
//   warp 0:  k tiles 0 ... 3     weights [16, 128] in codes -> e4m3, operand A ┐  mma.sync
//   warp 1:  k tiles 4 ... 7     tokens [8 or 16, 128] of e4m3,      operand B ┘  m16n8k32
//   ...                          sums [16, tokens] of each warp, joined in the order of warps
namespace emberq::cuda {

// Operand: a class of operand*.cuh with kSliceConfig.
template <class TheOperand, int kGroups, int kTokens>
struct SliceKernel {
  using Operand = TheOperand;
  using Tile = typename Operand::TileOrder;
  struct Args {
    const uint8_t* x;      // [m, k] e4m3
    const uint8_t* tiles;  // as TiledWeight
    int k, k_tiles;
    OperandParams operand;
    StartOrder start;
    LinearEpilogue epilogue;
  };
  static constexpr int kWarps = kSlices, kThreads = 32 * kWarps;
  // As many as ptxas finds registers for without spilling.
  static constexpr int kMinBlocksPerSm =
      kTokens == 8 || Operand::kFormat == OperandFormat::kLut4 ? 3 : 2;
  static constexpr bool kUsesPdl = true;
  static constexpr int kStages = kSliceConfig<kTokens>.stages, kTokenTiles = kTokens / 8;
  static constexpr int kTokenBytes = kTokens * kTileInputs;
  static constexpr int kSliceBytes = tile_bytes<Tile>(kGroups) / 4;
  static constexpr int kStageBytes = kTokenBytes + kSliceBytes;
  using Sums = float[kTokenTiles][4];
  struct Shared {
    union {
      alignas(128) uint8_t stages[kWarps][kStages][kStageBytes];
      float sums[kWarps][kTokenTiles][4][32];  // when all stages have been read
    };
    ByteTable table;
  };
  static constexpr int kSharedBytes = int(sizeof(Shared));

  static __device__ void run(const Args& a) {
    extern __shared__ __align__(128) uint8_t memory[];
    Shared& shared = *reinterpret_cast<Shared*>(memory);
    a.start.begin();
    const int warp = int(threadIdx.x) / 32;
    const int begin = slice_begin(a.k_tiles, warp), end = slice_begin(a.k_tiles, warp + 1);
    const uint32_t ring = ptx::shared_address(shared.stages[warp]);
    const auto stage = [&](int i) { return ring + uint32_t((i - begin) % kStages * kStageBytes); };
    // No kernel writes weights, so their first loads need not wait for the previous one.
    for (int i = begin; i < min(end, begin + kStages); ++i)
      load_weights(a, i, stage(i) + kTokenBytes);
    if (threadIdx.x == 0) shared.table = a.operand.table;
    __syncthreads();
    const Operand operand(a.operand, ptx::shared_address(&shared.table));
    a.start.wait_for_input();
    for (int i = begin; i < begin + kStages; ++i) {  // a group for each stage, to be counted
      if (i < end) load_tokens(a, i, stage(i));
      ptx::cp_async_commit();
    }
    const Factors factors(a, warp);
    Sums sums = {};
    for (int i = begin; i < end; ++i) {
      ptx::cp_async_wait_group<kStages - 1>();
      __syncwarp();  // what other lanes have copied
      multiply(operand, stage(i), sums);
      __syncwarp();
      if (i + kStages < end) {
        load_weights(a, i + kStages, stage(i) + kTokenBytes);
        load_tokens(a, i + kStages, stage(i));
      }
      ptx::cp_async_commit();
    }
    __syncthreads();
    store(a, shared, warp, sums, factors);
    a.start.end();
  }

 private:
  static __device__ void load_weights(const Args& a, int k_tile, uint32_t to) {
    constexpr int kChunks = Tile::kCodeBytes / 4 / 512;       // of 512 bytes, of codes
    constexpr int kGroupChunks = Tile::kGroupBytes / 4 / 16;  // of 16 bytes, of a group
    const int lane = int(threadIdx.x) % 32, slice = int(blockIdx.x);
    const uint8_t* tile =
        a.tiles +
        ((int64_t(slice / 8) * a.k_tiles + k_tile) * 2 + slice / 4 % 2) * tile_bytes<Tile>(kGroups);
    const int of_tile = slice % 4;
#pragma unroll
    for (int i = 0; i < kChunks; ++i)
      ptx::cp_async_zfill<16>(to + uint32_t(512 * i + 16 * lane),
                              tile + 2048 * i + 512 * of_tile + 16 * lane, true);
    static_assert(kGroups * kGroupChunks <= 32);
    if (lane < kGroups * kGroupChunks) {
      const int group = lane / kGroupChunks, chunk = lane % kGroupChunks;
      ptx::cp_async_zfill<16>(to + uint32_t(Tile::kCodeBytes / 4 + 16 * lane),
                              tile + Tile::kCodeBytes + group * Tile::kGroupBytes +
                                  of_tile * (Tile::kGroupBytes / 4) + 16 * chunk,
                              true);
    }
  }

  // Chunks of 16 inputs, exchanged by the token's number, so that ldmatrix has no bank conflicts.
  static __device__ void load_tokens(const Args& a, int k_tile, uint32_t to) {
    const int lane = int(threadIdx.x) % 32, chunk = lane % 8;
    const int input = k_tile * kTileInputs + 16 * chunk;
#pragma unroll
    for (int first = 0; first < kTokens; first += 4) {
      const int token = first + lane / 8;
      const bool inside = token < a.epilogue.m && input < a.k;
      ptx::cp_async_zfill<16>(to + uint32_t(token * kTileInputs + (chunk ^ token % 8) * 16),
                              inside ? a.x + int64_t(token) * a.k + input : a.x, inside);
    }
  }

  static __device__ void multiply(const Operand& operand, uint32_t stage, Sums& sums) {
    const int lane = int(threadIdx.x) % 32;
    const uint32_t weights = stage + kTokenBytes;
    typename Operand::Codes codes;
    typename Operand::Registers registers;
    operand.load_codes(weights, codes);
    operand.expand(weights, codes, registers);
    uint32_t tokens[kTokenTiles][2][2];  // of two mma
    float product[kTokenTiles][4];       // of a group
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      if (j % 2 == 0) {
#pragma unroll
        for (int tile = 0; tile < kTokenTiles; ++tile) {
          const int token = 8 * tile + lane % 8, chunk = 2 * j + lane / 8;
          uint32_t four[4];
          ptx::ldmatrix_x4(stage + uint32_t(token * kTileInputs + (chunk ^ token % 8) * 16), four);
#pragma unroll
          for (int i = 0; i < 4; ++i) tokens[tile][i / 2][i % 2] = four[i];
        }
      }
      if constexpr (Operand::kPromotions == 0) {
#pragma unroll
        for (int tile = 0; tile < kTokenTiles; ++tile)
          ptx::mma_e4m3(sums[tile], registers + 4 * j, tokens[tile][j % 2]);
      } else {
        constexpr int kOfGroup = 4 / kGroups;  // mma
#pragma unroll
        for (int tile = 0; tile < kTokenTiles; ++tile) {
#pragma unroll
          for (int c = 0; c < 4; ++c)
            if (j % kOfGroup == 0) product[tile][c] = 0;
          ptx::mma_e4m3(product[tile], registers + 4 * j, tokens[tile][j % 2]);
        }
        if (j % kOfGroup < kOfGroup - 1) continue;
        const RowScales scale = operand.group_scales(weights, j / kOfGroup);
#pragma unroll
        for (int tile = 0; tile < kTokenTiles; ++tile)
#pragma unroll
          for (int c = 0; c < 4; ++c)
            sums[tile][c] = fmaf(c < 2 ? scale.low : scale.high, product[tile][c], sums[tile][c]);
      }
    }
  }

  // The output that a thread of the first warps stores.
  static __device__ int own_token(int warp) {
    return warp / 4 * 8 + int(threadIdx.x) % 4 * 2 + warp % 2;
  }
  static __device__ int own_column(int warp) {
    return int(blockIdx.x) * 16 + int(threadIdx.x) % 32 / 4 + warp % 4 / 2 * 8;
  }
  static __device__ bool stores(const Args& a, int warp) {
    return warp < 4 * kTokenTiles && a.epilogue.has(own_token(warp), own_column(warp));
  }
  // What goes into it beside the sums.
  struct Factors {
    float scale = 1;
    LinearEpilogue::Addends addends{};
    __device__ Factors(const Args& a, int warp) {
      if (!stores(a, warp)) return;
      if (a.epilogue.x_scale) scale = a.epilogue.x_scale[own_token(warp)];
      addends = a.epilogue.addends(own_token(warp), own_column(warp));
    }
  };

  static __device__ void store(const Args& a, Shared& shared, int warp, const Sums& sums,
                               const Factors& factors) {
    const int lane = int(threadIdx.x) % 32;
#pragma unroll
    for (int tile = 0; tile < kTokenTiles; ++tile)
#pragma unroll
      for (int c = 0; c < 4; ++c) shared.sums[warp][tile][c][lane] = sums[tile][c];
    __syncthreads();
    if (!stores(a, warp)) return;
    const int tile = warp / 4, c = warp % 4;
    float sum[1] = {shared.sums[0][tile][c][lane]};
#pragma unroll
    for (int other = 1; other < kWarps; ++other) sum[0] += shared.sums[other][tile][c][lane];
    Operand::finish(a.operand, sum);
    a.epilogue.store(own_token(warp), own_column(warp), sum[0], factors.scale, factors.addends);
  }
};

template <template <GemmConfig, int> class Operand, int kGroups, int kTokens>
void launch_slices(const LinearCall& call) {
  using Kernel = SliceKernel<Operand<kSliceConfig<kTokens>, kGroups>, kGroups, kTokens>;
  const auto& [op, weight, workspace, invariant, order, stream] = call;
  launch<Kernel>(dim3(unsigned((op.out.dim + 15) / 16)), stream,
                 {.x = static_cast<const uint8_t*>(op.x.data),
                  .tiles = weight.tiles.as<uint8_t>(),
                  .k = int(op.x.dim),
                  .k_tiles = int(weight.k_tiles),
                  .operand = weight.params,
                  .start = {order},
                  .epilogue = LinearEpilogue::of(op)});
}

}  // namespace emberq::cuda
