#pragma once

// Attention of few query tokens over a long cache: each warp multiplies a tile of 64 keys with all
// query heads that read it, and CTAs share the tiles of a batch evenly. docs/kernels/attention.md
// has the picture.
#include <algorithm>

#include "ops/cuda/attention/attention.h"
#include "ops/cuda/attention/expand_kv.cuh"
#include "ops/cuda/attention/kv_page.cuh"
#include "ops/cuda/attention/load_query.cuh"
#include "ops/cuda/ptx/mbarrier.cuh"
#include "ops/cuda/ptx/shared_memory.cuh"
#include "ops/cuda/ptx/sync.cuh"
#include "ops/cuda/ptx/tma.cuh"
#include "ops/cuda/runtime/launch.cuh"

namespace emberq::cuda {

constexpr int kTileKeys = 64;
constexpr int kInvariantPart = 8;  // tiles that a part has in the batch-invariant mode
constexpr unsigned kAllLanes = 0xffffffff;

__device__ __host__ constexpr int divide_up(int a, int b) { return (a + b - 1) / b; }

// The work of a batch, in units of tiles; in the batch-invariant mode in parts of kInvariantPart
// tiles that begin at multiples of it. A task is a KV head of a sequence and a column tile: the
// queries of so many tokens that read the head. Tasks follow each other sequence by sequence.
struct Task {
  int sequence, kv_head, first_token, tokens;  // tokens count from the sequence's first new one
  int position;                                // of the first token
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

// Where work lies, from the lengths that are on the device. Built by the whole CTA.
template <int kMaxSequences>
struct Schedule {
  int units_before[kMaxSequences + 1], tasks_before[kMaxSequences + 1];
  int new_tokens[kMaxSequences], kv_length[kMaxSequences];

  struct Sequence {
    int new_tokens, kv_length, begin_tile, units, column_tiles;
  };
  static __device__ Sequence sequence(const SplitKvArgs& a, int new_tokens, int kv_length) {
    Sequence result{.new_tokens = new_tokens, .kv_length = kv_length};
    const int first =
        a.window > 0 ? max(0, result.kv_length - result.new_tokens + 1 - a.window) : 0;
    result.begin_tile = first / kTileKeys;
    if (a.invariant) result.begin_tile -= result.begin_tile % kInvariantPart;
    result.units = divide_up(result.kv_length, kTileKeys) - result.begin_tile;
    if (a.invariant) result.units = divide_up(result.units, kInvariantPart);
    result.column_tiles = divide_up(result.new_tokens, a.tokens_of_task);
    return result;
  }

  // By the first warp; others see it after a barrier.
  __device__ void build(const SplitKvArgs& a) {
    const int lane = int(threadIdx.x) % 32;
    if (lane == 0) units_before[0] = tasks_before[0] = 0;
    int all_units = 0, all_tasks = 0;
    for (int first = 0; first < a.sequences; first += 32) {
      int units = 0, tasks = 0;
      if (first + lane < a.sequences) {
        const int i = first + lane;
        new_tokens[i] = a.q_begin[i + 1] - a.q_begin[i];
        kv_length[i] = a.kv_length[i];
        const Sequence s = sequence(a, new_tokens[i], kv_length[i]);
        tasks = s.column_tiles * int(a.cache.kv_heads);
        units = tasks * s.units;
      }
#pragma unroll
      for (int offset = 1; offset < 32; offset *= 2) {
        const int more_units = __shfl_up_sync(kAllLanes, units, offset);
        const int more_tasks = __shfl_up_sync(kAllLanes, tasks, offset);
        if (lane >= offset) units += more_units, tasks += more_tasks;
      }
      if (first + lane < a.sequences) {
        units_before[first + lane + 1] = all_units + units;
        tasks_before[first + lane + 1] = all_tasks + tasks;
      }
      all_units += __shfl_sync(kAllLanes, units, 31);
      all_tasks += __shfl_sync(kAllLanes, tasks, 31);
    }
  }

  // What a CTA does from `unit` on, before `end`.
  __device__ Segment segment(const SplitKvArgs& a, int unit, int end) const {
    int s = 0, last = a.sequences - 1;
    while (s < last) {
      const int middle = (s + last + 1) / 2;
      units_before[middle] <= unit ? s = middle : last = middle - 1;
    }
    const Sequence seq = sequence(a, new_tokens[s], kv_length[s]);
    const int of_sequence = unit - units_before[s], task = of_sequence / seq.units;
    Segment result;
    Task& t = result.task;
    t.sequence = s;
    t.kv_head = task / seq.column_tiles;
    t.first_token = task % seq.column_tiles * a.tokens_of_task;
    t.tokens = min(a.tokens_of_task, seq.new_tokens - t.first_token);
    t.position = seq.kv_length - seq.new_tokens + t.first_token;
    t.index = tasks_before[s] + task;
    t.first_unit = units_before[s] + task * seq.units;
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

template <class Code, int kDim, int kColumnTiles>
struct SplitKvKernel {
  using Args = SplitKvArgs;
  using Expand = ExpandKv<Code>;

  static constexpr int kWarps = 4, kThreads = 32 * (kWarps + 1);  // the last warp loads
  static constexpr int kColumns = 8 * kColumnTiles;
  // Keys whose scores a warp holds at a time.
  static constexpr int kPassKeys = kColumnTiles == 1 && kDim < 256 ? kTileKeys
                                   : kHasScale<Code>               ? kTileKeys / 2
                                                                   : kTileKeys / 4;
  static constexpr int kBlocks = kPassKeys / 16;
  static constexpr int kRowBytes = kDim * Code::kBits / 8;
  static constexpr int kCodeBytes = kTileKeys * kRowBytes;
  static constexpr int scale_bytes() {
    if constexpr (kHasScale<Code>)
      return int(sizeof(typename Code::Scale)) * kTileKeys;
    else
      return 0;
  }
  static constexpr int kScaleBytes = scale_bytes();
  static constexpr int kStageBytes = (2 * (kCodeBytes + kScaleBytes) + 127) / 128 * 128;
  // Two CTAs share a multiprocessor where a thread's sums fit its registers then.
  static constexpr int kMinBlocksPerSm = kColumnTiles == 1 && kDim < 256 && kHasScale<Code> ? 2 : 1;
  static constexpr int kRingBytes = (144 << 10) / kMinBlocksPerSm;
  static constexpr int kStages = std::max(2, std::min(16, kRingBytes / kStageBytes));
  static constexpr int kMaxSequences = 512;
  static constexpr int kPartial = kDim + 4;  // sums of values, maximum, sum, sum of zeros, nothing

  struct Shared {
    alignas(128) uint8_t stages[kStages][kStageBytes];
    float sums[kWarps][kColumns][kDim + 4];
    float maximum[kWarps][kColumns], total[kWarps][kColumns], zeros[kWarps][kColumns];
    Schedule<kMaxSequences> schedule;
    alignas(8) uint64_t full[kStages], empty[kStages];
    int last;  // whether the CTA's part of a task was the last to arrive
  };
  static constexpr int kSharedBytes = int(sizeof(Shared));
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
    const int64_t token = a.q_begin[task.sequence] + task.first_token + column / group;
    return token * a.heads + task.kv_head * group + column % group;
  }

  static __device__ void load_queries(const Args& a, const Task& task, Queries& q) {
    const int lane = int(threadIdx.x) % 32, g = lane / 4, t = lane % 4;
#pragma unroll
    for (int j = 0; j < kColumnTiles; ++j) {
      const int column = 8 * j + g;
      const bool inside = token_of(a, task, column) >= 0;
      const int64_t row = inside ? row_of(a, task, column) : 0;
      constexpr int kPieces = kDim / 4 / kPieceChannels, kPieceSteps = kSteps / kPieces;
      const auto load = [&](int piece, float(&x)[kPieceChannels]) {
        if (inside)
          load_query_piece(a.query, a.query_type,
                           row * kDim + t * (kDim / 4) + piece * kPieceChannels, x);
      };
      float sum = 0, largest = 0;
#pragma unroll
      for (int piece = 0; piece < kPieces; ++piece) {
        float x[kPieceChannels] = {};
        load(piece, x);
#pragma unroll
        for (const float value : x) sum += value, largest = fmaxf(largest, fabsf(value));
      }
#pragma unroll
      for (int offset = 1; offset < 4; offset *= 2) {
        sum += __shfl_xor_sync(kAllLanes, sum, offset);
        largest = fmaxf(largest, __shfl_xor_sync(kAllLanes, largest, offset));
      }
      // BF16 queries may not fit FP16: the largest becomes 1 ... 2 by a power of two.
      const int exponent =
          a.query_type == DType::kBF16 && largest > 0 ? max(-100, min(100, ilogbf(largest))) : 0;
      const float down = exp2f(float(-exponent));
#pragma unroll
      for (int piece = 0; piece < kPieces; ++piece) {
        float x[kPieceChannels] = {};
        load(piece, x);
#pragma unroll
        for (int step = 0; step < kPieceSteps; ++step) {
          const auto operand = [&](int i) {
            return x[Expand::query_channel(step, i)] * down * Expand::query_factor(i);
          };
          uint32_t(&b)[2] = q.b[piece * kPieceSteps + step][j];
          b[0] = operand_pair<Code>(operand(0), operand(1));
          b[1] = operand_pair<Code>(operand(2), operand(3));
        }
      }
      const float scale = !inside ? 0.0f : a.query_scale ? a.query_scale[row] * a.scale : a.scale;
      const float factor = scale * exp2f(float(exponent)) * Expand::kKeyFactor;
#pragma unroll
      for (int i = 0; i < 2; ++i) {  // lane 4 c has those of column c
        q.factor[j][i] = __shfl_sync(kAllLanes, factor, 4 * (2 * t + i));
        q.sum[j][i] = __shfl_sync(kAllLanes, sum * scale, 4 * (2 * t + i));
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

  static __device__ void add_tile(const Args& a, const Task& task, int tile, uint8_t* stage,
                                  const Queries& q, State& state) {
    const int first = tile * kTileKeys;
    const bool whole = first + kTileKeys <= task.position + 1 &&
                       (a.window == 0 || first > task.position + task.tokens - 1 - a.window);
    if (whole)
      add_tile<false>(a, task, first, stage, q, state);
    else
      add_tile<true>(a, task, first, stage, q, state);
  }

  template <bool kMask>
  static __device__ void add_tile(const Args& a, const Task& task, int first, uint8_t* stage,
                                  const Queries& q, State& state) {
    if constexpr (kMask && !kHasScale<Code>)
      clear_values(stage + kCodeBytes, task.position + task.tokens - first);
#pragma unroll 1
    for (int from = 0; from < kTileKeys; from += kPassKeys)
      add_keys<kMask>(a, task, first + from, ptx::shared_address(stage) + from * kRowBytes,
                      scales_of(stage, from), q, state);
  }

  // Scales of keys, from key `from` of the tile on; those of values are kTileKeys further.
  static __device__ auto scales_of(const uint8_t* stage, int from) {
    if constexpr (kHasScale<Code>)
      return reinterpret_cast<const typename Code::Scale*>(stage + 2 * kCodeBytes) + from;
    else
      return nullptr;
  }

  // Adds kPassKeys keys, the first at position `first`. Their codes are at the address `key`.
  template <bool kMask, class Scales>
  static __device__ void add_keys(const Args& a, const Task& task, int first, uint32_t key,
                                  Scales scales, const Queries& q, State& state) {
    const int lane = int(threadIdx.x) % 32, g = lane / 4, t = lane % 4;
    float s[kBlocks][kColumnTiles][4];
    score(key, q, s);

    // Scores in units of log2 e, and their maxima.
    float maximum[kColumnTiles][2];
#pragma unroll
    for (int j = 0; j < kColumnTiles; ++j) maximum[j][0] = maximum[j][1] = -INFINITY;
#pragma unroll
    for (int m = 0; m < kBlocks; ++m)
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int row = 16 * m + 8 * half + g;
        ScaleAndZero of_row{1, 0};
        if constexpr (kHasScale<Code>) of_row = Expand::factors(scales[row]);
#pragma unroll
        for (int j = 0; j < kColumnTiles; ++j)
#pragma unroll
          for (int i = 0; i < 2; ++i) {
            float& x = s[m][j][2 * half + i];
            x = fmaf(of_row.scale, x * q.factor[j][i], of_row.zero * q.sum[j][i]);
            if (kMask && !visible(a, task, 8 * j + 2 * t + i, first + row)) x = -INFINITY;
            maximum[j][i] = fmaxf(maximum[j][i], x);
          }
      }
    raise_maximum(maximum, state);
    float value_scale[2 * kBlocks], value_zero[2 * kBlocks];
    load_value_scales<kMask>(scales, task.position + task.tokens - first, value_scale, value_zero,
                             state);
    const float unit = exp2f(float(13 - state.exponent));

    // Probabilities, their sums, and the products with values, 16 keys at a time.
#pragma unroll
    for (int m = 0; m < kBlocks; ++m) {
      uint32_t b[kColumnTiles][2];
#pragma unroll
      for (int j = 0; j < kColumnTiles; ++j)
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          float p[2];
#pragma unroll
          for (int i = 0; i < 2; ++i) {
            const float largest = state.maximum[j][i];
            p[i] = exp2_approx(s[m][j][2 * half + i] -
                               (kMask && largest == -INFINITY ? 0.0f : largest));
            state.total[j][i] += p[i];
            if constexpr (kHasScale<Code>) {
              state.zeros[j][i] = fmaf(p[i], value_zero[2 * m + half], state.zeros[j][i]);
              p[i] *= value_scale[2 * m + half] * unit;
            }
          }
          b[j][half] = ptx::movmatrix_trans(operand_pair<Code>(p[0], p[1]));
        }
      add_values(key + kCodeBytes, m, b, state);
    }
  }

  static __device__ bool visible(const Args& a, const Task& task, int column, int key) {
    const int token = token_of(a, task, column);
    const int position = task.position + max(token, 0);
    return token >= 0 && key <= position && (a.window == 0 || key > position - a.window);
  }

  // Rows of BF16 that no token has written may hold NaN, and 0 * NaN is no 0.
  static __device__ void clear_values(uint8_t* value, int rows) {
    for (int row = max(rows, 0); row < kTileKeys; ++row)
      for (int at = int(threadIdx.x) % 32 * 16; at < kRowBytes; at += 32 * 16)
        *reinterpret_cast<uint4*>(value + row * kRowBytes + at) = uint4{};
    ptx::fence_proxy_async();  // the next load of this stage comes after these stores
    __syncwarp();
  }

  // s = keys times queries.
  static __device__ void score(uint32_t key, const Queries& q,
                               float (&s)[kBlocks][kColumnTiles][4]) {
    const int lane = int(threadIdx.x) % 32, g = lane / 4, t = lane % 4;
    constexpr int kLaneBytes = kRowBytes / 4;
    constexpr int kPiece = kLaneBytes < 16 ? kLaneBytes : 16, kPieces = kLaneBytes / kPiece;
    constexpr int kPieceSteps = kSteps / kPieces, kWords = kPiece / 4;
#pragma unroll
    for (int m = 0; m < kBlocks; ++m) {
#pragma unroll
      for (int j = 0; j < kColumnTiles; ++j)
#pragma unroll
        for (int i = 0; i < 4; ++i) s[m][j][i] = 0;
#pragma unroll
      for (int piece = 0; piece < kPieces; ++piece) {
        uint32_t words[2][4];
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          const int row = 16 * m + 8 * half + g;
          const uint32_t at =
              key + uint32_t(row * kRowBytes +
                             exchanged(kRowBytes, row, t * kLaneBytes + piece * kPiece));
          if constexpr (kPiece == 16) {
            const uint4 v = ptx::ld_shared_v4(at);
            words[half][0] = v.x, words[half][1] = v.y, words[half][2] = v.z, words[half][3] = v.w;
          } else {
#pragma unroll
            for (int w = 0; w < kWords; ++w) words[half][w] = ptx::ld_shared(at + 4 * w);
          }
        }
#pragma unroll
        for (int i = 0; i < kPieceSteps; ++i) {
          uint32_t operand[4];
          const int word = i / Expand::kStepsOfWord * Expand::kWordsOfStep;
          Expand::key(words[0] + word, i, operand[0], operand[2]);
          Expand::key(words[1] + word, i, operand[1], operand[3]);
#pragma unroll
          for (int j = 0; j < kColumnTiles; ++j) {
            const int step = piece * kPieceSteps + i;
            mma<Code>(s[m][j], operand, q.b[step][j]);
          }
        }
      }
    }
  }

  // The columns' maxima over the warp; where one rises, what was summed below it shrinks.
  static __device__ void raise_maximum(float (&maximum)[kColumnTiles][2], State& state) {
    bool rises = false;
#pragma unroll
    for (int j = 0; j < kColumnTiles; ++j)
#pragma unroll
      for (int i = 0; i < 2; ++i) {
#pragma unroll
        for (int offset = 4; offset < 32; offset *= 2)
          maximum[j][i] = fmaxf(maximum[j][i], __shfl_xor_sync(kAllLanes, maximum[j][i], offset));
        rises |= maximum[j][i] > state.maximum[j][i];
      }
    if (!__any_sync(kAllLanes, rises)) return;
#pragma unroll
    for (int j = 0; j < kColumnTiles; ++j)
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        if (!(maximum[j][i] > state.maximum[j][i])) continue;
        const float shrink = exp2_approx(state.maximum[j][i] - maximum[j][i]);
        state.maximum[j][i] = maximum[j][i];
        state.total[j][i] *= shrink, state.zeros[j][i] *= shrink;
#pragma unroll
        for (int m = 0; m < kDim / 16; ++m)
          state.sums[m][j][i] *= shrink, state.sums[m][j][2 + i] *= shrink;
      }
  }

  // The scales and zeros of the lane's values, keys g, g + 8, ... Probabilities are multiplied by
  // them in FP16, so their largest exponent so far is taken off.
  template <bool kMask, class Scales>
  static __device__ void load_value_scales(Scales scales, int rows, float (&scale)[2 * kBlocks],
                                           float (&zero)[2 * kBlocks], State& state) {
    if constexpr (kHasScale<Code>) {
      const int g = int(threadIdx.x) % 32 / 4;
      float largest = 0;
#pragma unroll
      for (int i = 0; i < 2 * kBlocks; ++i) {
        const ScaleAndZero of_row = Expand::factors(scales[kTileKeys + 8 * i + g]);
        scale[i] = of_row.scale, zero[i] = of_row.zero;
        if (kMask && 8 * i + g >= rows) scale[i] = zero[i] = 0;
        largest = fmaxf(largest, scale[i]);
      }
#pragma unroll
      for (int offset = 4; offset < 32; offset *= 2)
        largest = fmaxf(largest, __shfl_xor_sync(kAllLanes, largest, offset));
      const int exponent = int(__float_as_uint(largest) >> 23) - 127;
      if (exponent <= state.exponent) return;  // the same in all lanes
      const float shrink = exp2f(float(max(state.exponent - exponent, -126)));
      state.exponent = exponent;
#pragma unroll
      for (int m = 0; m < kDim / 16; ++m)
#pragma unroll
        for (int j = 0; j < kColumnTiles; ++j)
#pragma unroll
          for (int i = 0; i < 4; ++i) state.sums[m][j][i] *= shrink;
    }
  }

  // sums += values of keys 16 m ... 16 m + 15, times probabilities.
  static __device__ void add_values(uint32_t value, int m, const uint32_t (&b)[kColumnTiles][2],
                                    State& state) {
    const int lane = int(threadIdx.x) % 32;
    // Lanes 0 ... 15 give the rows of chunk 2 i, lanes 16 ... 31 those of chunk 2 i + 1.
    const int row = 16 * m + lane % 16;
    const uint32_t at = value + uint32_t(row * kRowBytes);
#pragma unroll
    for (int i = 0; i < kRowBytes / 32; ++i) {
      uint32_t r[4];
      ptx::ldmatrix_x4_trans(at + uint32_t(exchanged(kRowBytes, row, (2 * i + lane / 16) * 16)), r);
#pragma unroll
      for (int tile = 0; tile < Expand::kTilesOfLoad; ++tile) {
        uint32_t operand[4];
        Expand::value(r, tile, operand);
#pragma unroll
        for (int j = 0; j < kColumnTiles; ++j)
          mma<Code>(state.sums[i * Expand::kTilesOfLoad + tile][j], operand, b[j]);
      }
    }
  }

  // Joins the warps' sums; writes them out where they are the whole task's, else hands them over.
  static __device__ void finish(const Args& a, Shared& shared, const Segment& segment, State& state,
                                int share) {
    const int warp = int(threadIdx.x) / 32, lane = int(threadIdx.x) % 32, g = lane / 4,
              t = lane % 4;
    constexpr int kConsumers = 32 * kWarps;
    ptx::named_barrier_sync(1, kConsumers);  // the last segment's sums have been read
    const float unit = kHasScale<Code> ? exp2f(float(state.exponent - 13)) : 1.0f;
#pragma unroll
    for (int j = 0; j < kColumnTiles; ++j)
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        const int column = 8 * j + 2 * t + i;
        float total = state.total[j][i], zeros = state.zeros[j][i];
#pragma unroll
        for (int offset = 4; offset < 32; offset *= 2) {
          total += __shfl_xor_sync(kAllLanes, total, offset);
          zeros += __shfl_xor_sync(kAllLanes, zeros, offset);
        }
        if (g == 0) {
          shared.maximum[warp][column] = state.maximum[j][i];
          shared.total[warp][column] = total;
          shared.zeros[warp][column] = zeros;
        }
#pragma unroll
        for (int m = 0; m < kDim / 16; ++m)
#pragma unroll
          for (int half = 0; half < 2; ++half)
            shared.sums[warp][column][Expand::value_channel(m, half, g)] =
                state.sums[m][j][2 * half + i] * (unit * Expand::value_factor(half));
      }
    ptx::named_barrier_sync(1, kConsumers);

    const Task& task = segment.task;
    const int thread = int(threadIdx.x);
    const int columns = task.tokens * (a.heads / int(a.cache.kv_heads));
    const bool whole = segment.units == task.units;
    float* partial = a.partial + int64_t(slot_of(a, segment, share)) * kColumns * kPartial;
    for (int column = 0; column < columns; ++column) {
      float largest = shared.maximum[0][column];
#pragma unroll
      for (int w = 1; w < kWarps; ++w) largest = fmaxf(largest, shared.maximum[w][column]);
      float weight[kWarps], total = 0, zeros = 0;
#pragma unroll
      for (int w = 0; w < kWarps; ++w) {
        const float maximum = shared.maximum[w][column];
        weight[w] = maximum == -INFINITY ? 0.0f : exp2f(maximum - largest);
        total = fmaf(shared.total[w][column], weight[w], total);
        zeros = fmaf(shared.zeros[w][column], weight[w], zeros);
      }
      for (int c = thread; c < kDim; c += kConsumers) {
        float sum = 0;
#pragma unroll
        for (int w = 0; w < kWarps; ++w) sum = fmaf(shared.sums[w][column][c], weight[w], sum);
        if (whole)
          store(a, task, column, c, sum, total, zeros);
        else
          partial[column * kPartial + c] = sum;
      }
      if (!whole && thread == 0) {
        partial[column * kPartial + kDim] = largest;
        partial[column * kPartial + kDim + 1] = total;
        partial[column * kPartial + kDim + 2] = zeros;
      }
    }
    if (!whole) join_parts(a, shared, segment, columns, share);
  }

  static __device__ void store(const Args& a, const Task& task, int column, int c, float sum,
                               float total, float zeros) {
    const float mean = a.value_mean ? a.value_mean[task.kv_head * kDim + c] : 0.0f;
    a.out[row_of(a, task, column) * kDim + c] = __float2bfloat16_rn((sum + zeros) / total + mean);
  }

  // Where a part's sums lie. A CTA has at most two parts of which it does not have the whole: the
  // first, whose task began in an earlier CTA, and the last.
  static __device__ int slot_of(const Args& a, const Segment& segment, int share) {
    if (a.invariant) return segment.first_unit;
    const bool begins = segment.first_unit == segment.task.first_unit;
    return segment.first_unit / share * 2 + (begins ? 1 : 0);
  }

  // The last part of a task to arrive joins all, in their order.
  static __device__ void join_parts(const Args& a, Shared& shared, const Segment& segment,
                                    int columns, int share) {
    constexpr int kConsumers = 32 * kWarps;
    const Task& task = segment.task;
    const int first = a.invariant ? task.first_unit : task.first_unit / share;
    const int end =
        a.invariant ? task.first_unit + task.units : (task.first_unit + task.units - 1) / share + 1;
    __threadfence();
    ptx::named_barrier_sync(1, kConsumers);
    if (threadIdx.x == 0) {
      shared.last = atomicAdd(a.arrived + task.index, 1) == end - first - 1;
      if (shared.last) a.arrived[task.index] = 0;
    }
    ptx::named_barrier_sync(1, kConsumers);
    if (!shared.last) return;
    __threadfence();
    for (int column = int(threadIdx.x) / 32; column < columns; column += kWarps)
      join_column(a, task, first, end, column);
  }

  // By a warp: lane l has the weights of parts first + l, first + l + 32, ... and channels l, l +
  // 32,
  // ... of the sums.
  static __device__ void join_column(const Args& a, const Task& task, int first, int end,
                                     int column) {
    const int lane = int(threadIdx.x) % 32;
    const auto part = [&](int i) {
      const int slot = a.invariant ? i : 2 * i + (i == first ? 1 : 0);
      return a.partial + (int64_t(slot) * kColumns + column) * kPartial;
    };
    float largest = -INFINITY;
    for (int i = first + lane; i < end; i += 32) largest = fmaxf(largest, __ldcg(part(i) + kDim));
    for (int offset = 16; offset > 0; offset /= 2)
      largest = fmaxf(largest, __shfl_xor_sync(kAllLanes, largest, offset));
    float sum[kDim / 32] = {}, total = 0, zeros = 0;
    for (int begin = first; begin < end; begin += 32) {
      const int mine = begin + lane;
      float weight = 0;
      if (mine < end) {
        const float maximum = __ldcg(part(mine) + kDim);
        weight = maximum == -INFINITY ? 0.0f : exp2f(maximum - largest);
        total = fmaf(__ldcg(part(mine) + kDim + 1), weight, total);
        zeros = fmaf(__ldcg(part(mine) + kDim + 2), weight, zeros);
      }
      const int count = min(32, end - begin);
#pragma unroll 4
      for (int i = 0; i < count; ++i) {
        const float of_part = __shfl_sync(kAllLanes, weight, i);
        const float* values = part(begin + i) + lane;
#pragma unroll
        for (int c = 0; c < kDim / 32; ++c) sum[c] = fmaf(__ldcg(values + 32 * c), of_part, sum[c]);
      }
    }
    for (int offset = 16; offset > 0; offset /= 2) {
      total += __shfl_xor_sync(kAllLanes, total, offset);
      zeros += __shfl_xor_sync(kAllLanes, zeros, offset);
    }
#pragma unroll
    for (int c = 0; c < kDim / 32; ++c) store(a, task, column, lane + 32 * c, sum[c], total, zeros);
  }
};

}  // namespace emberq::cuda
