#pragma once

#include "ops/batch.h"
#include "ops/cuda/attention/kv_page.cuh"
#include "ops/cuda/attention/prefill.h"

// Which queries and keys a CTA of the prefill kernel multiplies.
namespace emberq::cuda {

inline constexpr int kPrefillRows = 128;  // queries of a tile

// The arguments of the kernel, as Attention and Batch have them.
struct PrefillArgs {
  const void* query;
  const float* query_scale;
  DType query_type;
  const int32_t *q_begin, *kv_length, *pages;
  int sequences, max_pages;
  KvLayer cache;
  int heads, group, window;  // group: query heads of a KV head
  float scale;               // log2 e / sqrt(head_dim)
  const float* value_mean;
  __nv_bfloat16* out;
  int* counters;  // PrefillWorkspace
  // Sequences, the longest first by what the host knows. Any order gives the same results.
  uint16_t order[kPrefillSequences];
};

// A tile of queries. Its rows are (token, query head of the group), heads inside: all read the same
// KV head, so a tile of keys is expanded once for all heads of a group, few tokens fill a tile, and
// little is computed above the diagonal.
struct PrefillTile {
  int sequence, kv_head;
  int first_row, rows;  // rows count from the sequence's first new token
  int first_token;      // the sequence's first new one, among all tokens
  int first_position;   // its position
  int kv_length;
  int begin, end;  // keys that its tokens see

  __device__ int position(const PrefillArgs& a, int row) const {
    return first_position + int(unsigned(first_row + min(row, rows - 1)) / unsigned(a.group));
  }
  // The index of the row's query among [tokens * heads].
  __device__ int64_t query_row(const PrefillArgs& a, int row) const {
    const unsigned at = unsigned(first_row + row), group = unsigned(a.group);
    return int64_t(first_token + int(at / group)) * a.heads + kv_head * a.group + int(at % group);
  }
};

// Tiles in the order in which they are taken: sequences by `order`, in each the last tokens first,
// since these read the most keys.
struct PrefillSchedule {
  int tiles_before[kPrefillSequences + 1];

  // By one warp; others see it after a barrier.
  __device__ void build(const PrefillArgs& a) {
    const int lane = int(threadIdx.x) % 32;
    if (lane == 0) tiles_before[0] = 0;
    int all = 0;
    for (int first = 0; first < a.sequences; first += 32) {
      int tiles = 0;
      if (first + lane < a.sequences)
        tiles = row_tiles(a, a.order[first + lane]) * int(a.cache.kv_heads);
#pragma unroll
      for (int offset = 1; offset < 32; offset *= 2) {
        const int more = __shfl_up_sync(~0u, tiles, offset);
        if (lane >= offset) tiles += more;
      }
      if (first + lane < a.sequences) tiles_before[first + lane + 1] = all + tiles;
      all += __shfl_sync(~0u, tiles, 31);
    }
  }

  __device__ int tiles(const PrefillArgs& a) const { return tiles_before[a.sequences]; }

  __device__ PrefillTile tile(const PrefillArgs& a, int index) const {
    int i = 0, last = a.sequences - 1;
    while (i < last) {
      const int middle = (i + last + 1) / 2;
      if (tiles_before[middle] <= index)
        i = middle;
      else
        last = middle - 1;
    }
    PrefillTile t;
    t.sequence = a.order[i];
    const int of_sequence = index - tiles_before[i], kv_heads = int(a.cache.kv_heads);
    t.first_token = a.q_begin[t.sequence];
    const int new_tokens = a.q_begin[t.sequence + 1] - t.first_token;
    t.kv_head = of_sequence % kv_heads;
    t.first_row = (row_tiles(a, t.sequence) - 1 - of_sequence / kv_heads) * kPrefillRows;
    t.rows = min(kPrefillRows, new_tokens * a.group - t.first_row);
    t.kv_length = a.kv_length[t.sequence];
    t.first_position = t.kv_length - new_tokens;
    t.end = t.position(a, t.rows - 1) + 1;
    t.begin = a.window > 0 ? max(0, t.position(a, 0) + 1 - a.window) : 0;
    return t;
  }

 private:
  static __device__ int row_tiles(const PrefillArgs& a, int sequence) {
    const int rows = (a.q_begin[sequence + 1] - a.q_begin[sequence]) * a.group;
    return (rows + kPrefillRows - 1) / kPrefillRows;
  }
};

}  // namespace emberq::cuda
