#pragma once

#include <type_traits>

#include "ops/cuda/attention/split_kv_shape.cuh"
#include "ops/cuda/ptx/sync.cuh"

namespace emberq::cuda {

// What the warps of a CTA, and the CTAs of a task, have summed, as one output.
template <class Shape>
struct SplitKvJoin : Shape {
  using Shape::kColumns;
  using Shape::kColumnTiles;
  using Shape::kDim;
  using Shape::kPartial;
  using Shape::kThreads;
  using Shape::kWarps;
  using Shape::row_of;
  using Shape::sums_of;
  using typename Shape::Args;
  using typename Shape::Code;
  using typename Shape::Expand;
  using typename Shape::Shared;
  using typename Shape::State;

  static constexpr int kOfLane = kDim / 32;  // channels of a column
  using Pack = std::conditional_t<kOfLane == 2, float2, float4>;
  static constexpr int kPacks = kOfLane * int(sizeof(float)) / int(sizeof(Pack));

  // Stores a warp's sums, whose stages it has read.
  static __device__ void store_sums(Shared& shared, const State& state) {
    const int warp = int(threadIdx.x) / 32, lane = int(threadIdx.x) % 32, g = lane / 4,
              t = lane % 4;
    auto& sums = sums_of(shared, warp);
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
            sums[column][Expand::value_channel(m, half, g)] =
                state.sums[m][j][2 * half + i] * (unit * Expand::value_factor(half));
      }
  }

  // Joins the warps' sums; writes them out where they are the whole task's, else hands them over.
  static __device__ void join(const Args& a, Shared& shared, const Segment& segment, int share) {
    __syncthreads();
    const Task& task = segment.task;
    const int warp = int(threadIdx.x) / 32, lane = int(threadIdx.x) % 32, channel = kOfLane * lane;
    const int columns = task.tokens * (a.heads / int(a.cache.kv_heads));
    const bool whole = segment.units == task.units;
    float* partial = a.partial + int64_t(slot_of(a, segment, share)) * kColumns * kPartial;
    float mean[kOfLane] = {};
    if (whole) load_means(a, task, mean);
    for (int column = warp; column < columns; column += kWarps) {
      float largest = shared.maximum[0][column];
#pragma unroll
      for (int w = 1; w < kWarps; ++w) largest = fmaxf(largest, shared.maximum[w][column]);
      float sum[kOfLane] = {}, total = 0, zeros = 0;
#pragma unroll
      for (int w = 0; w < kWarps; ++w) {
        const float maximum = shared.maximum[w][column];
        const float weight = maximum == -INFINITY ? 0.0f : exp2f(maximum - largest);
        total = fmaf(shared.total[w][column], weight, total);
        zeros = fmaf(shared.zeros[w][column], weight, zeros);
        float values[kOfLane];
        const auto* from = reinterpret_cast<const Pack*>(&sums_of(shared, w)[column][channel]);
#pragma unroll
        for (int i = 0; i < kPacks; ++i) reinterpret_cast<Pack*>(values)[i] = from[i];
#pragma unroll
        for (int c = 0; c < kOfLane; ++c) sum[c] = fmaf(values[c], weight, sum[c]);
      }
      if (whole) {
        store(a, task, column, sum, total, zeros, mean);
      } else {
        float* to = partial + column * kPartial;
#pragma unroll
        for (int i = 0; i < kPacks; ++i)
          reinterpret_cast<Pack*>(to + channel)[i] = reinterpret_cast<const Pack*>(sum)[i];
        if (lane == 0) *reinterpret_cast<float4*>(to + kDim) = {largest, total, zeros, 0};
      }
    }
    if (!whole) join_parts(a, shared, segment, columns, share);
  }

  // Of a lane's channels, to be loaded before their sums.
  static __device__ void load_means(const Args& a, const Task& task, float (&mean)[kOfLane]) {
    const int channel = int(threadIdx.x) % 32 * kOfLane;
#pragma unroll
    for (int c = 0; c < kOfLane; ++c)
      mean[c] = a.value_mean ? a.value_mean[task.kv_head * kDim + channel + c] : 0.0f;
  }
  // The output of a lane's channels.
  static __device__ void store(const Args& a, const Task& task, int column,
                               const float (&sum)[kOfLane], float total, float zeros,
                               const float (&mean)[kOfLane]) {
    __nv_bfloat16* to = a.out + row_of(a, task, column) * kDim + int(threadIdx.x) % 32 * kOfLane;
#pragma unroll
    for (int c = 0; c < kOfLane; c += 2)
      *reinterpret_cast<__nv_bfloat162*>(to + c) = __floats2bfloat162_rn(
          (sum[c] + zeros) / total + mean[c], (sum[c + 1] + zeros) / total + mean[c + 1]);
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
    const Task& task = segment.task;
    const int first = a.invariant ? task.first_unit : task.first_unit / share;
    const int end =
        a.invariant ? task.first_unit + task.units : (task.first_unit + task.units - 1) / share + 1;
    __syncthreads();
    if (threadIdx.x == 0) {  // for all of the CTA's sums, before and after
      shared.last = ptx::atomic_add_acq_rel(a.arrived + task.index, 1) == end - first - 1;
      if (shared.last) a.arrived[task.index] = 0;
    }
    __syncthreads();
    if (!shared.last) return;
    for (int column = int(threadIdx.x) / 32; column < columns; column += kWarps)
      join_column(a, task, first, end, column);
  }

  // By a warp: lane l has the weights of parts first + l, first + l + 32, ... and kOfLane channels
  // of the sums.
  static __device__ void join_column(const Args& a, const Task& task, int first, int end,
                                     int column) {
    const int lane = int(threadIdx.x) % 32, channel = kOfLane * lane;
    float mean[kOfLane];
    load_means(a, task, mean);
    const auto part = [&](int i) {
      const int slot = a.invariant ? i : 2 * i + (i == first ? 1 : 0);
      return a.partial + (int64_t(slot) * kColumns + column) * kPartial;
    };
    float largest = -INFINITY;
    for (int i = first + lane; i < end; i += 32) largest = fmaxf(largest, __ldcg(part(i) + kDim));
    for (int offset = 16; offset > 0; offset /= 2)
      largest = fmaxf(largest, __shfl_xor_sync(kAllLanes, largest, offset));
    float sum[kOfLane] = {}, total = 0, zeros = 0;
    for (int begin = first; begin < end; begin += 32) {
      const int mine = begin + lane;
      float weight = 0;
      if (mine < end) {
        const float4 joined = __ldcg(reinterpret_cast<const float4*>(part(mine) + kDim));
        weight = joined.x == -INFINITY ? 0.0f : exp2f(joined.x - largest);
        total = fmaf(joined.y, weight, total);
        zeros = fmaf(joined.z, weight, zeros);
      }
      const int count = min(32, end - begin);
#pragma unroll 8
      for (int i = 0; i < count; ++i) {
        const float of_part = __shfl_sync(kAllLanes, weight, i);
        float values[kOfLane];
        const auto* from = reinterpret_cast<const Pack*>(part(begin + i) + channel);
#pragma unroll
        for (int p = 0; p < kPacks; ++p) reinterpret_cast<Pack*>(values)[p] = __ldcg(from + p);
#pragma unroll
        for (int c = 0; c < kOfLane; ++c) sum[c] = fmaf(values[c], of_part, sum[c]);
      }
    }
    for (int offset = 16; offset > 0; offset /= 2) {
      total += __shfl_xor_sync(kAllLanes, total, offset);
      zeros += __shfl_xor_sync(kAllLanes, zeros, offset);
    }
    store(a, task, column, sum, total, zeros, mean);
  }
};

}  // namespace emberq::cuda
