#pragma once

#include "ops/cuda/attention/load_query.cuh"
#include "ops/cuda/attention/split_kv_shape.cuh"

namespace emberq::cuda {

// A tile of keys and values times a task's queries, by a warp.
template <class Shape>
struct SplitKvTile : Shape {
  using Shape::kBlocks;
  using Shape::kCodeBytes;
  using Shape::kColumnTiles;
  using Shape::kDim;
  using Shape::kRowBytes;
  using Shape::kStageKeys;
  using Shape::kSteps;
  using Shape::row_of;
  using Shape::token_of;
  using typename Shape::Args;
  using typename Shape::Code;
  using typename Shape::Expand;
  using typename Shape::Queries;
  using typename Shape::State;

  static __device__ void load_queries(const Args& a, const Task& task, Queries& q) {
    const int lane = int(threadIdx.x) % 32, g = lane / 4, t = lane % 4;
#pragma unroll
    for (int j = 0; j < kColumnTiles; ++j) {
      const int column = 8 * j + g;
      const bool inside = token_of(a, task, column) >= 0;
      const int64_t row = inside ? row_of(a, task, column) : 0;
      const int64_t first = row * kDim + t * (kDim / 4);
      int exponent = 0;
      if (a.query_type == DType::kF8E4M3 && kHasScale<Code>)
        load_e4m3(static_cast<const uint8_t*>(a.query) + first, inside, j, q);
      else
        exponent = load_numbers(a, first, inside, j, q);
      const float scale = !inside ? 0.0f : a.query_scale ? a.query_scale[row] * a.scale : a.scale;
      const float factor = scale * exp2f(float(exponent));
      float sum[4] = {};
      if constexpr (kHasScale<Code>) {
        // A key of ones, where queries are multiplied by query_factor().
        uint32_t ones[4];
        ones[0] = ones[1] =
            operand_pair<Code>(1 / Expand::query_factor(0), 1 / Expand::query_factor(1));
        ones[2] = ones[3] =
            operand_pair<Code>(1 / Expand::query_factor(2), 1 / Expand::query_factor(3));
#pragma unroll
        for (int step = 0; step < kSteps; ++step) mma<Code>(sum, ones, q.b[step][j]);
      }
#pragma unroll
      for (int i = 0; i < 2; ++i) {  // lane 4 c has the factor of column c
        const float of_column = __shfl_sync(kAllLanes, factor, 4 * (2 * t + i));
        q.factor[j][i] = of_column * Expand::kKeyFactor;
        q.sum[j][i] = of_column * sum[i];
      }
    }
  }

  static constexpr int kPieces = kDim / 4 / kPieceChannels, kPieceSteps = kSteps / kPieces;

  // e4m3 queries, as FP16.
  static __device__ void load_e4m3(const uint8_t* from, bool inside, int j, Queries& q) {
#pragma unroll
    for (int piece = 0; piece < kPieces; ++piece) {
      uint4 loaded{};
      if (inside) loaded = *reinterpret_cast<const uint4*>(from + piece * kPieceChannels);
      const uint32_t words[4] = {loaded.x, loaded.y, loaded.z, loaded.w};
#pragma unroll
      for (int step = 0; step < kPieceSteps; ++step)
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          const int c = Expand::query_channel(step, 2 * half),
                    d = Expand::query_channel(step, 2 * half + 1);
          const uint32_t pair =
              __byte_perm(words[c / 4], words[d / 4], uint32_t(c % 4 | (d % 4 + 4) << 4));
          const __half2 values(__nv_cvt_fp8x2_to_halfraw2(__nv_fp8x2_storage_t(pair), __NV_E4M3));
          const __half2 scaled =
              __hmul2(values, __floats2half2_rn(Expand::query_factor(2 * half),
                                                Expand::query_factor(2 * half + 1)));
          q.b[piece * kPieceSteps + step][j][half] = reinterpret_cast<const uint32_t&>(scaled);
        }
    }
  }

  // Queries of any type. BF16 may not fit FP16: the largest becomes 1 ... 2 by a power of two,
  // whose exponent is returned.
  static __device__ int load_numbers(const Args& a, int64_t first, bool inside, int j, Queries& q) {
    const auto load = [&](int piece, float(&x)[kPieceChannels]) {
      if (inside) load_query_piece(a.query, a.query_type, first + piece * kPieceChannels, x);
    };
    int exponent = 0;
    if (kHasScale<Code> && a.query_type == DType::kBF16) {
      float largest = 0;
#pragma unroll
      for (int piece = 0; piece < kPieces; ++piece) {
        float x[kPieceChannels] = {};
        load(piece, x);
#pragma unroll
        for (const float value : x) largest = fmaxf(largest, fabsf(value));
      }
#pragma unroll
      for (int offset = 1; offset < 4; offset *= 2)
        largest = fmaxf(largest, __shfl_xor_sync(kAllLanes, largest, offset));
      if (largest > 0) exponent = max(-100, min(100, ilogbf(largest)));
    }
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
    return exponent;
  }

  // Adds the keys of a stage, the first at position `first`. Stages that not all tokens see whole
  // run the same code: a second copy of it would come from memory once for each task.
  static __device__ void add_keys(const Args& a, const Task& task, int first, uint8_t* stage,
                                  const Queries& q, State& state) {
    const bool whole = first + kStageKeys <= task.position + 1 &&
                       (a.window == 0 || first > task.position + task.tokens - 1 - a.window);
    const int rows = task.position + task.tokens - first;  // that there are
    if constexpr (!kHasScale<Code>)
      if (!whole) clear_values(stage + kCodeBytes, rows);
    const uint32_t key = ptx::shared_address(stage);
    const auto scales = scales_of(stage);
    const int lane = int(threadIdx.x) % 32, g = lane / 4;
    Scores s;
    score(key, q, s);

    // Scores in units of log2 e, and their maxima.
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
          }
      }
    if (!whole) hide(a, task, first, s);
    raise_maximum(s, state);
    float value_scale[2 * kBlocks], value_zero[2 * kBlocks];
    load_value_scales(scales, whole ? kStageKeys : rows, value_scale, value_zero, state);
    const float unit = exp2f(float(13 - state.exponent));
    float largest[kColumnTiles][2];
#pragma unroll
    for (int j = 0; j < kColumnTiles; ++j)
#pragma unroll
      for (int i = 0; i < 2; ++i)
        largest[j][i] = state.maximum[j][i] == -INFINITY ? 0.0f : state.maximum[j][i];

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
            p[i] = exp2_approx(s[m][j][2 * half + i] - largest[j][i]);
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

  using Scores = float[kBlocks][kColumnTiles][4];

  // Keys that a column's token does not see, which are few of a task's.
  static __device__ void hide(const Args& a, const Task& task, int first, Scores& s) {
    const int lane = int(threadIdx.x) % 32, g = lane / 4, t = lane % 4;
#pragma unroll
    for (int j = 0; j < kColumnTiles; ++j)
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        const int token = token_of(a, task, 8 * j + 2 * t + i);
        const int last = token < 0 ? -1 : task.position + token - first;
        const int before = a.window == 0 ? -1 : last - a.window;
#pragma unroll
        for (int m = 0; m < kBlocks; ++m)
#pragma unroll
          for (int half = 0; half < 2; ++half)
            if (const int row = 16 * m + 8 * half + g; row > last || row <= before)
              s[m][j][2 * half + i] = -INFINITY;
      }
  }

  // Rows of BF16 that no token has written may hold NaN, and 0 * NaN is no 0.
  static __device__ void clear_values(uint8_t* value, int rows) {
    for (int row = max(rows, 0); row < kStageKeys; ++row)
      for (int at = int(threadIdx.x) % 32 * 16; at < kRowBytes; at += 32 * 16)
        *reinterpret_cast<uint4*>(value + row * kRowBytes + at) = uint4{};
    __syncwarp();
  }

  // Scales of a stage's keys; those of its values are kStageKeys further.
  static __device__ auto scales_of(const uint8_t* stage) {
    if constexpr (kHasScale<Code>)
      return reinterpret_cast<const typename Code::Scale*>(stage + 2 * kCodeBytes);
    else
      return nullptr;
  }

  // s = keys times queries.
  static __device__ void score(uint32_t key, const Queries& q, Scores& s) {
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
  static __device__ void raise_maximum(const Scores& s, State& state) {
    float maximum[kColumnTiles][2];
    bool rises = false;
#pragma unroll
    for (int j = 0; j < kColumnTiles; ++j)
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        maximum[j][i] = -INFINITY;
#pragma unroll
        for (int m = 0; m < kBlocks; ++m)
          maximum[j][i] = fmaxf(maximum[j][i], fmaxf(s[m][j][i], s[m][j][2 + i]));
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
  template <class Scales>
  static __device__ void load_value_scales(Scales scales, int rows, float (&scale)[2 * kBlocks],
                                           float (&zero)[2 * kBlocks], State& state) {
    if constexpr (kHasScale<Code>) {
      const int g = int(threadIdx.x) % 32 / 4;
      float largest = 0;
#pragma unroll
      for (int i = 0; i < 2 * kBlocks; ++i) {
        const ScaleAndZero of_row = Expand::factors(scales[kStageKeys + 8 * i + g]);
        scale[i] = of_row.scale, zero[i] = of_row.zero;
        if (8 * i + g >= rows) scale[i] = zero[i] = 0;
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
};

}  // namespace emberq::cuda
