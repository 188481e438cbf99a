#pragma once

#include <cuda_runtime_api.h>

#include <vector>

#include "ops/attention.h"
#include "ops/buffer.h"
#include "ops/cuda/attention/attention_kernel.h"
#include "ops/cuda/runtime/host_device.h"

namespace emberq::cuda {

inline constexpr int kTileKeys = 64;
inline constexpr int kInvariantPart = 8;  // tiles that a part has in the batch-invariant mode

EMBERQ_HOST_DEVICE constexpr int divide_up(int a, int b) { return (a + b - 1) / b; }

// The work of a sequence, for the host's memory and the device's schedule alike.
struct SplitKvSequence {
  int new_tokens, kv_length;
  int begin_tile, units;  // units: of a task; tiles, or parts of kInvariantPart tiles
  int column_tiles;       // tasks of a KV head

  EMBERQ_HOST_DEVICE static constexpr SplitKvSequence of(int new_tokens, int kv_length, int window,
                                                         int tokens_of_task, bool invariant) {
    const int before =
        kv_length - new_tokens + 1 - window;  // keys that the first token passes over
    int begin_tile = window > 0 && before > 0 ? before / kTileKeys : 0;
    if (invariant) begin_tile -= begin_tile % kInvariantPart;
    int units = divide_up(kv_length, kTileKeys) - begin_tile;
    if (invariant) units = divide_up(units, kInvariantPart);
    return {new_tokens, kv_length, begin_tile, units, divide_up(new_tokens, tokens_of_task)};
  }
};

// The memory in which CTAs hand sums of a part of the keys over. It belongs to one stream. What a
// recorded operation uses stays, where larger memory takes its place.
struct SplitKvWorkspace {
  SplitKvWorkspace(Backend& of, int count) : backend(of), multiprocessors(count) {}
  void reserve(int64_t floats, int64_t tasks);

  Backend& backend;
  int multiprocessors;
  int64_t floats = 0, tasks = 0;  // that there is memory for
  Buffer partial;                 // F32
  Buffer arrived;                 // [tasks] I32, zeros between calls
  std::vector<Buffer> replaced;
};

// How a batch is cut into tasks: a KV head of a sequence, and so many of its new tokens.
struct SplitKvPlan {
  int column_tiles = 1;  // of eight query heads and tokens
  int tokens_of_task = 1;
  int64_t tasks = 0, units = 0;  // as split_kv_schedule.cuh counts them
  bool invariant = false;        // parts of the keys begin at fixed positions
};

SplitKvPlan split_kv_plan(const Attention& op, bool invariant);

struct SplitKvCall {
  const Attention& op;
  const SplitKvPlan& plan;
  SplitKvWorkspace& workspace;
  cudaStream_t stream;
};
template <int kDim>
void split_kv_of(const SplitKvCall& call);  // one source file each in instances/
// Probabilities are rounded to FP16 where more is asked for (to BF16 with a cache of those).
void attention_split_kv(const SplitKvCall& call);

}  // namespace emberq::cuda
