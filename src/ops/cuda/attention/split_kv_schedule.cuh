#pragma once

#include <cuda_bf16.h>

#include <cstdint>

#include "format/dtype.h"
#include "ops/cuda/attention/split_kv.h"
#include "ops/kv_layer.h"

// Which part of a batch's attention each CTA of SplitKvKernel does.
namespace emberq::cuda {

inline constexpr unsigned kAllLanes = 0xffffffff;

// The work of a batch, in units of tiles; in the batch-invariant mode in parts of kInvariantPart
// tiles that begin at multiples of it. A task is a KV head of a sequence and a column tile: the
// queries of so many tokens that read the head. Tasks follow each other sequence by sequence.
struct Task {
  int sequence, kv_head, first_token, tokens;  // tokens count from the sequence's first new one
  int position, row;                           // of the first token; row: of the batch
  int index;                                   // among all tasks
  int first_unit, units;                       // of all units
};
struct Segment {
  Task task;
  int first_tile, end_tile;  // absolute
  int first_unit, units;
};

// The arguments of the kernel, as Attention and Batch have them.
struct SplitKvArgs {
  const void* query;
  const float* query_scale;
  DType query_type;
  const int32_t *q_begin, *kv_length, *pages;
  int sequences, max_pages;
  KvLayer cache;
  int heads, window;
  float scale;  // log2 e / sqrt(head_dim)
  const float* value_mean;
  __nv_bfloat16* out;
  float* partial;  // [slots][columns][dim + 4]
  int* arrived;    // [tasks], zeros between calls
  int tokens_of_task;
  bool invariant;
};

// Where work lies, from the lengths that are on the device. Built by the first warp of each CTA.
//
// Units of all tasks form a line, of which each CTA does the same share. A CTA with the end of one
// task and the beginning of another would join sums twice, one after the other. So where there are
// CTAs enough, each task has some of its own: its place on the line is rounded up to whole shares.
struct Schedule {
  int units_before[kSplitKvSequences + 1], tasks_before[kSplitKvSequences + 1];
  int q_begin[kSplitKvSequences + 1], kv_length[kSplitKvSequences];
  int share;         // units of a CTA
  int task_rounded;  // to a multiple of this a task's units are rounded up

  static __device__ SplitKvSequence sequence(const SplitKvArgs& a, int new_tokens, int kv_length) {
    return SplitKvSequence::of(new_tokens, kv_length, a.window, a.tokens_of_task, a.invariant);
  }
  static __device__ int tasks_of(const SplitKvArgs& a, const SplitKvSequence& s) {
    return s.column_tiles * int(a.cache.kv_heads);
  }
  __device__ int rounded(int units) const { return divide_up(units, task_rounded) * task_rounded; }

  // least_share: units that keep all warps of a CTA busy.
  __device__ void build(const SplitKvArgs& a, int ctas, int least_share) {
    const int lane = int(threadIdx.x) % 32;
    int all_units = 0, all_tasks = 0;
    for (int i = lane; i < a.sequences; i += 32) {
      const int begin = a.q_begin[i], end = a.q_begin[i + 1];
      q_begin[i + 1] = end, kv_length[i] = a.kv_length[i];
      const SplitKvSequence s = sequence(a, end - begin, kv_length[i]);
      all_tasks += tasks_of(a, s), all_units += tasks_of(a, s) * s.units;
    }
    if (lane == 0) units_before[0] = tasks_before[0] = q_begin[0] = 0;
    all_units = __reduce_add_sync(kAllLanes, all_units);
    all_tasks = __reduce_add_sync(kAllLanes, all_tasks);
    __syncwarp();
    const int even = max(least_share, divide_up(all_units, ctas));
    int chosen = even, rounding = 1;
    if (!a.invariant && all_tasks <= ctas)
      for (int tried = even; rounding == 1 && tried <= even + max(2, even / 8); ++tried) {
        int parts = 0;
        for (int i = lane; i < a.sequences; i += 32) {
          const SplitKvSequence s = sequence(a, q_begin[i + 1] - q_begin[i], kv_length[i]);
          parts += tasks_of(a, s) * divide_up(s.units, tried);
        }
        if (int(__reduce_add_sync(kAllLanes, parts)) <= ctas) chosen = rounding = tried;
      }
    if (lane == 0) share = chosen, task_rounded = rounding;
    __syncwarp();
    add_up(a);
  }

  // units_before and tasks_before.
  __device__ void add_up(const SplitKvArgs& a) {
    const int lane = int(threadIdx.x) % 32;
    int all_units = 0, all_tasks = 0;
    for (int first = 0; first < a.sequences; first += 32) {
      const int last = min(32, a.sequences - first) - 1;  // lane with a sequence
      int units = 0, tasks = 0;
      if (const int i = first + lane; i < a.sequences) {
        const SplitKvSequence s = sequence(a, q_begin[i + 1] - q_begin[i], kv_length[i]);
        tasks = tasks_of(a, s);
        units = tasks * rounded(s.units);
      }
      for (int offset = 1; offset <= last; offset *= 2) {
        const int more_units = __shfl_up_sync(kAllLanes, units, offset);
        const int more_tasks = __shfl_up_sync(kAllLanes, tasks, offset);
        if (lane >= offset) units += more_units, tasks += more_tasks;
      }
      if (first + lane < a.sequences) {
        units_before[first + lane + 1] = all_units + units;
        tasks_before[first + lane + 1] = all_tasks + tasks;
      }
      all_units += __shfl_sync(kAllLanes, units, last);
      all_tasks += __shfl_sync(kAllLanes, tasks, last);
    }
  }

  // What a CTA does from `unit` on, before `end`.
  __device__ Segment segment(const SplitKvArgs& a, int unit, int end) const {
    int s = 0, last = a.sequences - 1;
    while (s < last) {
      const int middle = (s + last + 1) / 2;
      units_before[middle] <= unit ? s = middle : last = middle - 1;
    }
    const SplitKvSequence seq = sequence(a, q_begin[s + 1] - q_begin[s], kv_length[s]);
    const int of_sequence = unit - units_before[s], task = of_sequence / rounded(seq.units);
    Segment result;
    Task& t = result.task;
    t.sequence = s;
    t.kv_head = task / seq.column_tiles;
    t.first_token = task % seq.column_tiles * a.tokens_of_task;
    t.tokens = min(a.tokens_of_task, seq.new_tokens - t.first_token);
    t.position = seq.kv_length - seq.new_tokens + t.first_token;
    t.row = q_begin[s] + t.first_token;
    t.index = tasks_before[s] + task;
    t.first_unit = units_before[s] + task * rounded(seq.units);
    t.units = seq.units;
    result.first_unit = unit;
    const int of_task = unit - t.first_unit;
    result.units = a.invariant ? 1 : min(seq.units - of_task, end - unit);
    const int tiles = a.invariant ? kInvariantPart : 1;
    result.first_tile = seq.begin_tile + of_task * tiles;
    result.end_tile = result.first_tile + result.units * tiles;
    // Keys that the task's tokens see.
    const int first_key = a.window > 0 ? max(0, t.position + 1 - a.window) : 0;
    result.first_tile = max(result.first_tile, first_key / kTileKeys);
    result.end_tile = min(result.end_tile, divide_up(t.position + t.tokens, kTileKeys));
    result.end_tile = max(result.end_tile, result.first_tile);
    return result;
  }
};

}  // namespace emberq::cuda
