#pragma once

#include "ops/cuda/attention/prefill_schedule.cuh"
#include "ops/cuda/ptx/registers.cuh"
#include "ops/cuda/ptx/shared_memory.cuh"
#include "ops/cuda/ptx/sync.cuh"

namespace emberq::cuda {

// Of one of the multiplying warpgroups.
__device__ inline void prefill_barrier(int warpgroup) {
  ptx::named_barrier_sync(1 + warpgroup, 128);
}

// A thread's two rows, g and g + 8 of its warp's sixteen.
struct PrefillRows {
  int position[2];
  float factor[2];   // of a score's sum
  float sum[2];      // of the query's numbers; score and zero point
  float maximum[2];  // of scores
  float total[2];    // of probabilities, and of those times zero points: of this thread's keys
  float zeros[2];
};

// From a warpgroup's sums to its 64 rows of outputs.
template <class Operands>
struct PrefillOutput {
  static constexpr int kDim = Operands::kDim, kRows = 64;
  using Rows = PrefillRows;
  using Sums = float[kDim / 2];

  const PrefillArgs& a;
  int warpgroup;
  uint32_t query;  // address of the warpgroup's queries, which are read no more

  __device__ void store(const PrefillTile& t, const Rows& rows, const Sums& sums) const {
    if constexpr (Operands::kWholeChunks)
      store_chunks(t, rows, sums);
    else
      store_by_shared(t, rows, sums);
  }

 private:
  // The factor of a row's sums that makes outputs of them, and what is added before.
  static __device__ void finish_row(const Rows& rows, int i, float& reciprocal, float& zeros) {
    float total = rows.total[i];
    zeros = rows.zeros[i];
#pragma unroll
    for (int offset = 1; offset < 4; offset *= 2) {
      total += __shfl_xor_sync(~0u, total, offset);
      zeros += __shfl_xor_sync(~0u, zeros, offset);
    }
    reciprocal = 1 / total;
  }

  // Writes the outputs where a thread has eight channels in a row: the sums of four blocks.
  __device__ void store_chunks(const PrefillTile& t, const Rows& rows, const Sums& sums) const {
    const int thread = ptx::reload_thread_index() % 128, lane = thread % 32;
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      float reciprocal, zeros;
      finish_row(rows, i, reciprocal, zeros);
      const int of_tile = warpgroup * kRows + thread / 32 * 16 + lane / 4 + 8 * i;
      if (of_tile >= t.rows) continue;
      __nv_bfloat16* to = a.out + t.query_row(a, of_tile) * kDim;
#pragma unroll
      for (int j = 0; j < kDim / 8; j += 4) {
        const int first = Operands::output_channel(j, lane % 4 * 2);
        uint32_t words[4];
#pragma unroll
        for (int c = 0; c < 4; ++c) {
          float out[2];
#pragma unroll
          for (int k = 0; k < 2; ++k) {
            const int channel = 2 * c + k;  // of the eight
            const float sum = sums[4 * (j + channel % 4) + 2 * i + channel / 4];
            const float mean =
                a.value_mean ? a.value_mean[t.kv_head * kDim + first + channel] : 0.0f;
            out[k] = fmaf(fmaf(sum, Operands::output_factor(0), zeros), reciprocal, mean);
          }
          const __nv_bfloat162 pair = __floats2bfloat162_rn(out[0], out[1]);
          words[c] = reinterpret_cast<const uint32_t&>(pair);
        }
        *reinterpret_cast<uint4*>(to + first) = {words[0], words[1], words[2], words[3]};
      }
    }
  }

  // Writes the outputs through the queries' shared memory: a thread's channels are not in a row.
  __device__ void store_by_shared(const PrefillTile& t, const Rows& rows, const Sums& sums) const {
    const int thread = ptx::reload_thread_index() % 128;
    const int warp = thread / 32, lane = thread % 32, g = lane / 4;
    constexpr int kRowBytes = kDim * 2;
    const auto at = [&](int row, int chunk) {  // of eight channels
      return query + uint32_t(row * kRowBytes + (chunk ^ row % 8) * 16);
    };
    prefill_barrier(warpgroup);  // all products with the queries are over
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      float reciprocal, zeros;
      finish_row(rows, i, reciprocal, zeros);
#pragma unroll
      for (int j = 0; j < kDim / 8; ++j)
#pragma unroll
        for (int c = 0; c < 2; ++c) {
          const int place = lane % 4 * 2 + c, channel = Operands::output_channel(j, place);
          const float sum = sums[4 * j + 2 * i + c] * Operands::output_factor(place);
          const float mean = a.value_mean ? a.value_mean[t.kv_head * kDim + channel] : 0.0f;
          const __nv_bfloat16 out = __float2bfloat16_rn(fmaf(sum + zeros, reciprocal, mean));
          ptx::st_shared_b16(at(16 * warp + g + 8 * i, channel / 8) + uint32_t(channel % 8 * 2),
                             reinterpret_cast<const uint16_t&>(out));
        }
    }
    prefill_barrier(warpgroup);
    for (int chunk = thread; chunk < kRows * kDim / 8; chunk += 128) {
      const int row = chunk / (kDim / 8), of_row = chunk % (kDim / 8);
      const int of_tile = warpgroup * kRows + row;
      if (of_tile >= t.rows) break;
      auto* to = a.out + t.query_row(a, of_tile) * kDim + of_row * 8;
      *reinterpret_cast<uint4*>(to) = ptx::ld_shared_v4(at(row, of_row));
    }
  }
};

}  // namespace emberq::cuda
