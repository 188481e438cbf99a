#pragma once

// Attention of few query tokens over a long cache: each warp multiplies stages of keys with all
// query heads that read them, and CTAs share the tiles of a batch evenly. docs/kernels/attention.md
// has the picture.
#include "ops/cuda/attention/split_kv_join.cuh"
#include "ops/cuda/attention/split_kv_tile.cuh"
#include "ops/cuda/ptx/cp_async.cuh"
#include "ops/cuda/ptx/sync.cuh"
#include "ops/cuda/runtime/launch.cuh"

namespace emberq::cuda {

template <class TheCode, int kTheDim, int kTheColumnTiles>
struct SplitKvKernel : SplitKvJoin<SplitKvTile<SplitKvShape<TheCode, kTheDim, kTheColumnTiles>>> {
  using Shape = SplitKvJoin<SplitKvTile<SplitKvShape<TheCode, kTheDim, kTheColumnTiles>>>;
  using Shape::add_keys;
  using Shape::finish;
  using Shape::kCodeBytes;
  using Shape::kColumnTiles;
  using Shape::kRowBytes;
  using Shape::kScaleBytes;
  using Shape::kStageKeys;
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
    ptx::griddepcontrol_launch_dependents();
    if (warp == 0) shared.schedule.build(a);
    __syncthreads();

    const int all = shared.schedule.units_before[a.sequences];
    const int share = unit_share(a, all, int(gridDim.x));
    const int begin = min(all, int(blockIdx.x) * share), end = min(all, begin + share);
    for (int unit = begin; unit < end;) {
      if (unit != begin) __syncthreads();  // the last segment's sums have been read
      const Segment segment = shared.schedule.segment(a, unit, end);
      State state{};
      state.exponent = -100;
#pragma unroll
      for (int j = 0; j < kColumnTiles; ++j) state.maximum[j][0] = state.maximum[j][1] = -INFINITY;
      multiply(a, shared, segment, unit == begin, state);
      finish(a, shared, segment, state, share);
      unit += segment.units;
    }
  }

 private:
  // Units of a CTA: at least a stage for each warp.
  static __device__ int unit_share(const Args& a, int all, int ctas) {
    constexpr int kTiles = divide_up(kWarps * kStageKeys, kTileKeys);
    return max(a.invariant ? 1 : kTiles, divide_up(all, ctas));
  }

  // The stages of a segment that a warp has: every kWarps-th, with all keys that the task sees.
  struct Stages {
    int begin_key;  // of the warp's first
    int end_key;

    __device__ Stages(const Segment& segment)
        : begin_key(segment.first_tile * kTileKeys + int(threadIdx.x) / 32 * kStageKeys),
          end_key(min(segment.end_tile * kTileKeys, segment.task.position + segment.task.tokens)) {}
    __device__ int first_key(int i) const { return begin_key + i * (kWarps * kStageKeys); }
    __device__ bool has(int i) const { return first_key(i) < end_key; }
  };

  // Adds a segment's keys, each warp those of its stages, which it loads itself ahead of their use.
  static __device__ void multiply(const Args& a, Shared& shared, const Segment& segment,
                                  bool is_first, State& state) {
    const Stages stages(segment);
    auto& ring = shared.stages[int(threadIdx.x) / 32];
    const StageLoader loader(a, segment.task, shared.schedule.kv_length[segment.task.sequence]);
    const auto load = [&](int i) {  // a group for each stage, so that the last ones can be counted
      if (stages.has(i)) loader.load(stages.first_key(i), ring[i % kStages]);
      ptx::cp_async_commit();
    };
    // The keys of earlier steps are there before the previous kernel has ended.
    int loaded = 0;
    if (is_first) {
      const int earlier = segment.task.position - segment.task.first_token;
      while (loaded < kStages && stages.first_key(loaded) + kStageKeys <= earlier) load(loaded++);
      ptx::griddepcontrol_wait();
    }
    while (loaded < kStages) load(loaded++);
    Queries queries;
    load_queries(a, segment.task, queries);
    int stage = 0;
    for (int i = 0; stages.has(i); ++i) {
      ptx::cp_async_wait_group<kStages - 1>();
      __syncwarp();  // what other lanes have copied
      add_keys(a, segment.task, stages.first_key(i), ring[stage], queries, state);
      __syncwarp();
      if (stages.has(i + kStages)) loader.load(stages.first_key(i + kStages), ring[stage]);
      ptx::cp_async_commit();
      if (++stage == kStages) stage = 0;
    }
  }

  // Copies a stage by a warp: in groups of 16 tokens, which pages have whole, chunks of 16 bytes of
  // codes, and scales of keys by the first half of the lanes, of values by the second.
  struct StageLoader {
    const int32_t* pages;
    const uint8_t *key, *value, *scale;  // of this lane
    int kv_heads, page_tokens, kv_head, stored;

    __device__ StageLoader(const Args& a, const Task& task, int kv_length)
        : pages(a.pages + int64_t(task.sequence) * a.max_pages),
          kv_heads(int(a.cache.kv_heads)),
          page_tokens(int(a.cache.page_tokens)),
          kv_head(task.kv_head),
          stored(divide_up(kv_length, kGroup) * kGroup) {
      const int lane = int(threadIdx.x) % 32;
      key = static_cast<const uint8_t*>(a.cache.key) + 16 * lane;
      value = static_cast<const uint8_t*>(a.cache.value) + 16 * lane;
      scale = static_cast<const uint8_t*>(lane < kGroup ? a.cache.key_scale : a.cache.value_scale) +
              lane % kGroup * kScale;
    }

    __device__ void load(int first, const uint8_t* stage) const {
      const int lane = int(threadIdx.x) % 32;
      const uint32_t to = ptx::shared_address(stage) + uint32_t(16 * lane);
      const uint32_t to_scale = ptx::shared_address(stage) + 2 * kCodeBytes +
                                uint32_t(lane / kGroup * kScaleBytes + lane % kGroup * kScale);
      int page = first / page_tokens, slot = first - page * page_tokens;
      int64_t index = index_of(page, slot);
#pragma unroll
      for (int at = 0; at < kStageKeys; at += kGroup) {
        if (first + at >= stored) break;
#pragma unroll
        for (int bytes = 0; bytes < kGroup * kRowBytes; bytes += 32 * 16) {
          const uint32_t row = uint32_t(at * kRowBytes + bytes);
          ptx::cp_async_zfill<16>(to + row, key + index * kRowBytes + bytes, true);
          ptx::cp_async_zfill<16>(to + kCodeBytes + row, value + index * kRowBytes + bytes, true);
        }
        if constexpr (kScale > 0)
          if (kScale >= 4 || lane % kGroup * kScale % 4 == 0)
            ptx::cp_async_4_zfill(to_scale + uint32_t(at * kScale), scale + index * kScale, true);
        index += kGroup, slot += kGroup;
        if (slot == page_tokens) index = index_of(++page, slot = 0);
      }
    }

   private:
    static constexpr int kGroup = 16, kScale = kScaleBytes / kStageKeys;

    // Behind the last page of a sequence there may be none.
    __device__ int64_t index_of(int page, int slot) const {
      if (page * page_tokens >= stored) return 0;
      return (int64_t(__ldg(pages + page)) * kv_heads + kv_head) * page_tokens + slot;
    }
  };
};

}  // namespace emberq::cuda
