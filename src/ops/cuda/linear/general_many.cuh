#pragma once

#include "ops/cuda/linear/general_product.cuh"
#include "ops/cuda/ptx/cp_async.cuh"
#include "ops/cuda/ptx/shared_memory.cuh"
#include "ops/cuda/ptx/sync.cuh"

namespace emberq::cuda {

// Eight warps multiply 16 rows of W each by 64 tokens. Weights go from memory to registers, a k
// tile ahead. Tokens go through shared memory, in a ring of k tiles.
template <class TheSource>
struct ManyTokensKernel {
  using Source = TheSource;
  using Args = GeneralArgs<Source>;
  using Order = InputOrder<Source>;
  using Products = Accumulators<Source::kProduct>;
  static constexpr int kWarps = 8, kThreads = 32 * kWarps, kTokens = 64, kEights = kTokens / 8;
  static constexpr int kMinBlocksPerSm = 1;
  static constexpr bool kUsesPdl = true;
  static constexpr int kStages = 3;
  // A row of a stage ends with padding, so that the reads of a warp are on different banks: of 4
  // bytes a lane eight rows of 16 bytes, of 8 bytes four of 32, of 16 bytes two of 64.
  static constexpr int kRowBytes = kTileInputs * Order::kElement + 4 * Order::kRunBytes;
  static constexpr int kStageBytes = kTokens * kRowBytes;
  static constexpr int kSharedBytes = kStages * kStageBytes;
  // A copy of cp.async: eight inputs.
  static constexpr int kCopyBytes = 8 * Order::kElement, kCopiesOfRow = kTileInputs / 8,
                       kCopies = kTokens * kCopiesOfRow / kThreads;

  using Sums = float[kEights][4];

  static __device__ void run(const Args& a) {
    extern __shared__ uint4 stages[];
    __shared__ int64_t rows[kTokens];  // of x
    const uint32_t memory = ptx::shared_address(stages);
    const int warp = int(threadIdx.x) / 32, token = int(blockIdx.x) * kTokens;
    const int row_tile = int(blockIdx.y) * kWarps + warp;
    ptx::griddepcontrol_wait();
    if (threadIdx.x < kTokens) rows[threadIdx.x] = a.row(token + int(threadIdx.x));
    __syncthreads();

    const int k_tiles = a.source.k_tiles;
    const Source source(a.source, row_tile);
    const auto copy = [&](int k_tile) {
      if (k_tile < k_tiles)
        copy_inputs(a, rows, token, k_tile, memory + uint32_t(k_tile % kStages * kStageBytes));
      ptx::cp_async_commit();
    };
#pragma unroll
    for (int k_tile = 0; k_tile < kStages - 1; ++k_tile) copy(k_tile);
    typename Source::Raw next;
    source.load(0, next);

    Sums total = {}, sum = {};
    int slice = 0;
    for (int k_tile = 0; k_tile < k_tiles; ++k_tile) {
      ptx::cp_async_wait_group<kStages - 2>();
      __syncthreads();  // the stage has arrived, and all have read the one that is filled next
      copy(k_tile + kStages - 1);
      const typename Source::Raw weights = next;
      if (k_tile + 1 < k_tiles) source.load(k_tile + 1, next);
      const auto* stage = reinterpret_cast<const uint8_t*>(stages) + k_tile % kStages * kStageBytes;
      multiply(a, source, weights, stage, k_tile, rows, sum);
      bool slice_ends = false;  // slices may be empty
      while (slice < kSlices && slice_begin(k_tiles, slice + 1) <= k_tile + 1)
        ++slice, slice_ends = true;
      if (slice_ends) end_slice(sum, total);
    }
    ptx::griddepcontrol_launch_dependents();
    store(a, total, rows, row_tile, token);
  }

 private:
  static __device__ void copy_inputs(const Args& a, const int64_t* rows, int token, int k_tile,
                                     uint32_t to) {
#pragma unroll
    for (int i = 0; i < kCopies; ++i) {
      const int copy = i * kThreads + int(threadIdx.x);
      const int own_token = copy / kCopiesOfRow, part = copy % kCopiesOfRow;
      const int k = k_tile * kTileInputs + part * 8;
      const bool inside = token + own_token < a.out.m && k < a.k;
      const int64_t at = inside ? rows[own_token] * a.k + k : 0;
      ptx::cp_async_zfill<kCopyBytes>(to + uint32_t(own_token * kRowBytes + part * kCopyBytes),
                                      a.x + at * Order::kElement, inside);
    }
  }

  static __device__ void multiply(const Args& a, const Source& source,
                                  const typename Source::Raw& raw, const uint8_t* stage, int k_tile,
                                  const int64_t* rows, Sums& sum) {
    const unsigned ends = a.ends(k_tile);
    const uint8_t* own = stage + lane_index() / 4 * kRowBytes;
    Products products[kEights];
#pragma unroll
    for (Products& product : products) product.clear();
#pragma unroll
    for (int step = 0; step < kTileSteps; ++step) {
      uint32_t weights[kFragmentWords<Source::kProduct>];
      source.fragment(raw, k_tile, step, weights);
#pragma unroll
      for (int eight = 0; eight < kEights; ++eight) {
        uint32_t x[Order::kWords];
#pragma unroll
        for (int run = 0; run < Order::kRuns; ++run) {
          const int input = step * kStepInputs + Order::input(run);
          load_words<Order::kRunBytes>(own + eight * 8 * kRowBytes + input * Order::kElement,
                                       x + run * Order::kRunWords);
        }
        products[eight].multiply(weights, x);
      }
      if (ends >> step & 1)
        add(a, source, k_tile * kTileInputs + step * kStepInputs, rows, products, sum);
    }
  }

  static __device__ void add(const Args& a, const Source& source, int k, const int64_t* rows,
                             Products (&products)[kEights], Sums& sum) {
    k = min(k, a.k - 1);
    const WeightScales scales = source.scales(k);
    const int group = a.x_groups > 1 ? k / a.x_group_size : 0;
#pragma unroll
    for (int eight = 0; eight < kEights; ++eight) {
      float x_scales[2] = {1, 1};
      if (a.x_groups > 1)
#pragma unroll
        for (int i = 0; i < 2; ++i)
          x_scales[i] = a.x_scale[rows[eight * 8 + lane_index() % 4 * 2 + i] * a.x_groups + group];
      promote(products[eight], scales, x_scales, sum[eight]);
      products[eight].clear();
    }
  }

  static __device__ void end_slice(Sums& sum, Sums& total) {
#pragma unroll
    for (int eight = 0; eight < kEights; ++eight)
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        total[eight][i] = __fadd_rn(total[eight][i], sum[eight][i]);
        sum[eight][i] = 0;
      }
  }

  static __device__ void store(const Args& a, const Sums& total, const int64_t* rows, int row_tile,
                               int token) {
#pragma unroll
    for (int eight = 0; eight < kEights; ++eight)
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int own = eight * 8 + lane_index() % 4 * 2 + i % 2;
        const int column = row_tile * 16 + lane_index() / 4 + i / 2 * 8;
        if (token + own < a.out.m && column < a.out.n)
          a.out.store(token + own, column, __fmul_rn(total[eight][i], a.token_scale(rows[own])));
      }
  }
};

}  // namespace emberq::cuda
