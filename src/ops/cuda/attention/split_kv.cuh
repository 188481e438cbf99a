#pragma once

// Attention of few query tokens over a long cache: each warp multiplies stages of keys with all
// query heads that read them, and CTAs share the tiles of a batch evenly. docs/kernels/attention.md
// has the picture.
#include <climits>

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
  using Shape::join;
  using Shape::kCodeBytes;
  using Shape::kColumnTiles;
  using Shape::kRowBytes;
  using Shape::kScaleBytes;
  using Shape::kStageBytes;
  using Shape::kStageKeys;
  using Shape::kStages;
  using Shape::kStagesAhead;
  using Shape::kWarps;
  using Shape::load_queries;
  using Shape::store_sums;
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
    constexpr int kTiles = divide_up(kWarps * kStageKeys, kTileKeys);  // that have all warps' keys
    if (warp == 0) shared.schedule.build(a, int(gridDim.x), a.invariant ? 1 : kTiles);
    __syncthreads();

    const Schedule& schedule = shared.schedule;
    const int all = schedule.units_before[a.sequences], share = schedule.share;
    const int begin = int(blockIdx.x) * share;
    if (begin >= all) return;
    int end = min(all, begin + share);
    Segment segment = schedule.segment(a, begin, end);
    if (schedule.task_rounded > 1) end = begin + segment.units;
    Stages stages(a, shared, segment);
    stages.load(kStages, segment.task.position - segment.task.first_token);
    ptx::griddepcontrol_wait();
    for (int unit = begin;;) {
      stages.load(kStages);
      State state{};
      state.exponent = -100;
#pragma unroll
      for (int j = 0; j < kColumnTiles; ++j) state.maximum[j][0] = state.maximum[j][1] = -INFINITY;
      multiply(a, segment, stages, state);
      store_sums(shared, state);
      const Segment done = segment;
      unit += done.units;
      if (unit < end) {
        segment = schedule.segment(a, unit, end);
        stages = Stages(a, shared, segment);
        stages.load(kStagesAhead);
      }
      join(a, shared, done, share);
      if (unit == end) break;
      __syncthreads();  // the sums have been read
    }
  }

 private:
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

  // The stages of a segment that a warp has: every kWarps-th, with all keys that the task sees.
  // They are loaded in turn, each as one group, so that the last ones can be counted.
  class Stages {
   public:
    __device__ Stages(const Args& a, Shared& shared, const Segment& segment)
        : loader_(a, segment.task, shared.schedule.kv_length[segment.task.sequence]),
          ring_(shared.stages[int(threadIdx.x) / 32]),
          begin_key_(segment.first_tile * kTileKeys + int(threadIdx.x) / 32 * kStageKeys),
          end_key_(min(segment.end_tile * kTileKeys, segment.task.position + segment.task.tokens)) {
    }

    __device__ int first_key(int i) const { return begin_key_ + i * (kWarps * kStageKeys); }
    __device__ bool has(int i) const { return first_key(i) < end_key_; }
    __device__ uint8_t* at(int i) const { return ring_[i % kStages]; }
    // Loads more, up to the first `count`, of which all keys are before `end`.
    __device__ void load(int count, int end = INT_MAX) {
      while (loaded_ < count && (end == INT_MAX || first_key(loaded_) + kStageKeys <= end)) load();
    }
    // Loads the next one, if there is one.
    __device__ void load() {
      if (has(loaded_)) loader_.load(first_key(loaded_), at(loaded_));
      ptx::cp_async_commit();
      ++loaded_;
    }

   private:
    StageLoader loader_;
    uint8_t (*ring_)[kStageBytes];
    int begin_key_, end_key_, loaded_ = 0;
  };

  // Adds a segment's keys, each warp those of its stages.
  static __device__ void multiply(const Args& a, const Segment& segment, Stages& stages,
                                  State& state) {
    Queries queries;
    load_queries(a, segment.task, queries);
    for (int i = 0; stages.has(i); ++i) {
      ptx::cp_async_wait_group<kStages - 1>();
      __syncwarp();  // what other lanes have copied
      add_keys(a, segment.task, stages.first_key(i), stages.at(i), queries, state);
      __syncwarp();
      stages.load();
    }
  }
};

}  // namespace emberq::cuda
