#pragma once

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
  using Shape::kWarps;
  using Shape::row_of;
  using typename Shape::Args;
  using typename Shape::Code;
  using typename Shape::Expand;
  using typename Shape::Shared;
  using typename Shape::State;

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
