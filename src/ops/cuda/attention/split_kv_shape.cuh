#pragma once

#include <algorithm>

#include "ops/cuda/attention/expand_kv.cuh"
#include "ops/cuda/attention/split_kv_schedule.cuh"
#include "ops/cuda/ptx/shared_memory.cuh"

namespace emberq::cuda {

// The sizes of SplitKvKernel, its shared memory and what a lane holds.
template <class TheCode, int kTheDim, int kTheColumnTiles>
struct SplitKvShape {
  using Code = TheCode;
  using Args = SplitKvArgs;
  using Expand = ExpandKv<Code>;
  static constexpr int kDim = kTheDim, kColumnTiles = kTheColumnTiles;

  static constexpr int kWarps = 4, kThreads = 32 * kWarps;
  static constexpr int kColumns = 8 * kColumnTiles;
  // Keys of a stage, whose scores a warp holds at a time.
  static constexpr int kStageKeys =
      kHasScale<Code> || (kColumnTiles == 1 && kDim < 256) ? kTileKeys / 2 : kTileKeys / 4;
  static constexpr int kBlocks = kStageKeys / 16;
  static constexpr int kRowBytes = kDim * Code::kBits / 8;
  static constexpr int kCodeBytes = kStageKeys * kRowBytes;
  static constexpr int scale_bytes() {
    if constexpr (kHasScale<Code>)
      return int(sizeof(typename Code::Scale)) * kStageKeys;
    else
      return 0;
  }
  static constexpr int kScaleBytes = scale_bytes();
  static constexpr int kStageBytes = (2 * (kCodeBytes + kScaleBytes) + 127) / 128 * 128;
  // CTAs that share a multiprocessor: as many as registers and two stages for each warp allow.
  static constexpr int kMinBlocksPerSm = kColumnTiles > 1 || kDim == 256 || !kHasScale<Code> ? 1
                                         : Code::kBits == 4                                  ? 3
                                                                                             : 2;
  static constexpr int kRingBytes = (208 << 10) / kMinBlocksPerSm - (12 << 10);
  static constexpr int kStages =  // of a warp
      std::max(2, std::min(4, kRingBytes / kWarps / kStageBytes));
  static constexpr int kPartial = kDim + 4;  // sums of values, maximum, sum, sum of zeros, nothing

  // A warp's sums of a segment take the place of its last stages, when those have been read; the
  // first stages of the next segment are loaded beside them.
  using Sums = float[kColumns][kDim + 4];
  static constexpr int kStagesAhead = kStages - divide_up(int(sizeof(Sums)), kStageBytes);
  static_assert(kStagesAhead >= 0);
  struct Shared {
    alignas(128) uint8_t stages[kWarps][kStages][kStageBytes];
    float maximum[kWarps][kColumns], total[kWarps][kColumns], zeros[kWarps][kColumns];
    Schedule schedule;
    int last;  // whether the CTA's part of a task was the last to arrive
  };
  static constexpr int kSharedBytes = int(sizeof(Shared));
  static __device__ Sums& sums_of(Shared& shared, int warp) {
    return *reinterpret_cast<Sums*>(shared.stages[warp][kStagesAhead]);
  }

  // What a lane holds of the task's queries: operand B of each product step, and of the columns
  // that its sums are of, 8 j + 2 t and 8 j + 2 t + 1.
  static constexpr int kSteps = kDim / 16;
  struct Queries {
    uint32_t b[kSteps][kColumnTiles][2];
    float factor[kColumnTiles][2];  // of a score's product sum
    float sum[kColumnTiles][2];     // of the query's numbers, times log2 e / sqrt(head_dim)
  };
  // Sums of a warp over its tiles.
  struct State {
    float maximum[kColumnTiles][2];  // of scores in units of log2 e
    float total[kColumnTiles][2];    // of this lane's keys
    float zeros[kColumnTiles][2];    // of this lane's keys: probability times zero
    float sums[kDim / 16][kColumnTiles][4];
    int exponent;  // values' scales count in units of 2^(exponent - 13)
  };

  // The row of `query`, and the token (from the task's first) of a column; -1: there is none.
  static __device__ int token_of(const Args& a, const Task& task, int column) {
    const int group = a.heads / int(a.cache.kv_heads), token = column / group;
    return token < task.tokens ? token : -1;
  }
  static __device__ int64_t row_of(const Args& a, const Task& task, int column) {
    const int group = a.heads / int(a.cache.kv_heads);
    return int64_t(task.row + column / group) * a.heads + task.kv_head * group + column % group;
  }
};

}  // namespace emberq::cuda
