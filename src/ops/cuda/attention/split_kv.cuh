#pragma once

// Attention of few query tokens over a long cache: each warp multiplies a tile of 64 keys with all
// query heads that read it, and CTAs share the tiles of a batch evenly. docs/kernels/attention.md
// has the picture.
#include "ops/cuda/attention/split_kv_join.cuh"
#include "ops/cuda/attention/split_kv_tile.cuh"
#include "ops/cuda/ptx/mbarrier.cuh"
#include "ops/cuda/ptx/sync.cuh"
#include "ops/cuda/ptx/tma.cuh"
#include "ops/cuda/runtime/launch.cuh"

namespace emberq::cuda {

template <class TheCode, int kTheDim, int kTheColumnTiles>
struct SplitKvKernel : SplitKvJoin<SplitKvTile<SplitKvShape<TheCode, kTheDim, kTheColumnTiles>>> {
  using Shape = SplitKvJoin<SplitKvTile<SplitKvShape<TheCode, kTheDim, kTheColumnTiles>>>;
  using Shape::add_tile;
  using Shape::finish;
  using Shape::kCodeBytes;
  using Shape::kColumnTiles;
  using Shape::kRowBytes;
  using Shape::kScaleBytes;
  using Shape::kStages;
  using Shape::kWarps;
  using Shape::load_queries;
  using typename Shape::Args;
  using typename Shape::Code;
  using typename Shape::Queries;
  using typename Shape::Shared;
  using typename Shape::State;
  static constexpr bool kUsesPdl = true;

  static __device__ void run(const Args& a) {
    extern __shared__ __align__(128) uint8_t memory[];
    Shared& shared = *reinterpret_cast<Shared*>(memory);
    const int warp = int(threadIdx.x) / 32;
    if (threadIdx.x == 0)
      for (int i = 0; i < kStages; ++i)
        barrier(shared.full, i).init(1), barrier(shared.empty, i).init(1);
    ptx::griddepcontrol_wait();
    if (warp == 0) shared.schedule.build(a);
    ptx::fence_mbarrier_init();
    ptx::griddepcontrol_launch_dependents();

    const int all = shared.schedule.units_before[a.sequences];
    const int share = unit_share(a, all, int(gridDim.x));
    const int begin = min(all, int(blockIdx.x) * share), end = min(all, begin + share);
    if (warp == kWarps)
      load(a, shared, begin, end);
    else
      multiply(a, shared, begin, end, share);
  }

 private:
  static __device__ ptx::Mbarrier barrier(const uint64_t* barriers, int i) {
    return {ptx::shared_address(barriers + i)};
  }
  // Units of a CTA: at least a tile for each warp.
  static __device__ int unit_share(const Args& a, int all, int ctas) {
    return max(a.invariant ? 1 : kWarps, divide_up(all, ctas));
  }

  // The producer: one lane asks for each tile of the CTA's segments in turn.
  static __device__ void load(const Args& a, Shared& shared, int begin, int end) {
    if (threadIdx.x % 32 != 0) return;
    const uint64_t policy = ptx::l2_evict_first();
    const KvLayer& cache = a.cache;
    const int page_tokens = int(cache.page_tokens);
    int stage = 0, phase = 0;
    for (int unit = begin; unit < end;) {
      const Segment segment = shared.schedule.segment(a, unit, end);
      unit += segment.units;
      const int32_t* pages = a.pages + int64_t(segment.task.sequence) * a.max_pages;
      // Pages have whole groups of 16 tokens, and the last group of a sequence is a page's.
      const int stored = divide_up(shared.schedule.kv_length[segment.task.sequence], 16) * 16;
      for (int tile = segment.first_tile; tile < segment.end_tile; ++tile) {
        const int first = tile * kTileKeys, tokens = min(kTileKeys, stored - first);
        const ptx::Mbarrier full = barrier(shared.full, stage);
        barrier(shared.empty, stage).wait(phase ^ 1);
        full.arrive_expect_tx(uint32_t(2 * tokens * (kRowBytes + kScaleBytes / kTileKeys)));
        const uint32_t key = ptx::shared_address(shared.stages[stage]), value = key + kCodeBytes,
                       key_scale = value + kCodeBytes, value_scale = key_scale + kScaleBytes;
        for (int at = 0; at < tokens;) {
          const int position = first + at, slot = position % page_tokens;
          const int count = min(page_tokens - slot, tokens - at);
          const int64_t index =
              cache.index(pages[position / page_tokens], segment.task.kv_head, slot);
          const auto copy = [&](uint32_t to, const void* from, int bytes) {
            ptx::tma_load_1d(to + uint32_t(at * bytes),
                             static_cast<const uint8_t*>(from) + index * bytes,
                             uint32_t(count * bytes), full, policy);
          };
          copy(key, cache.key, kRowBytes);
          copy(value, cache.value, kRowBytes);
          if constexpr (kHasScale<Code>) {
            constexpr int kBytes = kScaleBytes / kTileKeys;
            copy(key_scale, cache.key_scale, kBytes);
            copy(value_scale, cache.value_scale, kBytes);
          }
          at += count;
        }
        if (++stage == kStages) stage = 0, phase ^= 1;
      }
    }
  }

  static __device__ void multiply(const Args& a, Shared& shared, int begin, int end, int share) {
    const int warp = int(threadIdx.x) / 32;
    int counter = 0;  // of tiles
    Queries queries;
    for (int unit = begin; unit < end;) {
      const Segment segment = shared.schedule.segment(a, unit, end);
      unit += segment.units;
      load_queries(a, segment.task, queries);
      State state{};
      state.exponent = -100;
#pragma unroll
      for (int j = 0; j < kColumnTiles; ++j) state.maximum[j][0] = state.maximum[j][1] = -INFINITY;
      for (int tile = segment.first_tile; tile < segment.end_tile; ++tile, ++counter) {
        if ((tile - segment.first_tile) % kWarps != warp) continue;
        const int stage = counter % kStages, phase = counter / kStages % 2;
        barrier(shared.full, stage).wait(phase);
        add_tile(a, segment.task, tile, shared.stages[stage], queries, state);
        __syncwarp();
        if (threadIdx.x % 32 == 0) barrier(shared.empty, stage).arrive();
      }
      finish(a, shared, segment, state, share);
    }
  }
};

}  // namespace emberq::cuda
