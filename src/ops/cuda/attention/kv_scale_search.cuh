#pragma once

#include <bit>
#include <cstdint>

#include "format/kv_encode.h"
#include "ops/cuda/rows/reduce.cuh"

namespace emberq::cuda {

// format/kv_encode.h's kv_scale() by a warp: lane i has candidate i.
template <class Code>
struct KvScaleSearch {
  using Scale = typename Code::Scale;
  static constexpr int kCandidates = Code::kCandidates;
  static constexpr int kSums = int(std::bit_ceil(unsigned(kCandidates)));

  template <class Head>
  static __device__ Scale run(const Head& head, float4* factors_of) {
    const Scale mine = Code::candidate(head.extent(), min(head.lane, kCandidates - 1));
    const KvFactors my_factors = Code::factors(mine);
    __syncwarp();
    if (head.lane < kCandidates)
      factors_of[head.lane] = {my_factors.scale, my_factors.zero, my_factors.reciprocal, 0};
    __syncwarp();
    float sums[kSums] = {};
#pragma unroll
    for (int i = 0; i < kCandidates; ++i) {
      const float4 f = factors_of[i];
      sums[i] = squared_error(head, {f.x, f.y, f.z});
    }
    // Of each two lanes apart one goes on with half of the sums: lane l has candidate l kSums / 32.
    join_lanes<kSums / 2>(sums, head.lane);
    const int candidate = head.lane / (32 / kSums);
    // Sums are not negative, so their bits are ordered as they are; of equal ones the first.
    const uint32_t bits = candidate < kCandidates ? __float_as_uint(sums[0]) : 0xffffffffu;
    const uint32_t least_bits = __reduce_min_sync(0xffffffff, bits);
    const int best = (__ffs(int(__ballot_sync(0xffffffff, bits == least_bits))) - 1) / (32 / kSums);
    Scale scale = from_lane(mine, best);
    if constexpr (requires { Code::kRefits; }) {
      float least = __uint_as_float(least_bits);
      for (int i = 0; i < Code::kRefits; ++i) {
        const Scale fitted = refit(head, scale);
        const float error = Sum::join_lanes(squared_error(head, Code::factors(fitted)));
        if (!(error < least)) break;
        least = error, scale = fitted;
      }
    }
    return scale;
  }

 private:
  template <class Head>
  static __device__ float squared_error(const Head& head, const KvFactors& factors) {
    float sum = 0;
#pragma unroll
    for (int i = 0; i < Head::kChannels; ++i) {
      const float error = Code::error(head.x[i], factors);
      sum = fmaf(error, error, sum);
    }
    return head.inside() ? sum : 0.0f;
  }

  // Adds what lanes 16, 8, 4, ... apart have, in the order of KvLanes::sum().
  template <int kHalf>
  static __device__ void join_lanes(float (&sums)[kSums], int lane) {
    constexpr int kApart = 32 * kHalf / kSums;
    if constexpr (kHalf > 0) {
      const bool upper = lane & kApart;
#pragma unroll
      for (int i = 0; i < kHalf; ++i) {
        const float given = upper ? sums[i] : sums[i + kHalf];
        const float kept = upper ? sums[i + kHalf] : sums[i];
        sums[i] = kept + __shfl_xor_sync(0xffffffff, given, kApart);
      }
      join_lanes<kHalf / 2>(sums, lane);
    } else {
#pragma unroll
      for (int apart = 16 / kSums; apart > 0; apart /= 2)
        sums[0] += __shfl_xor_sync(0xffffffff, sums[0], apart);
    }
  }

  static __device__ Scale from_lane(const Scale& scale, int lane) {
    static_assert(sizeof(Scale) <= sizeof(uint32_t) && kCandidates <= 32);
    union {
      uint32_t bits;
      Scale scale;
    } chosen{.bits = 0};
    chosen.scale = scale;
    chosen.bits = __shfl_sync(0xffffffff, chosen.bits, lane);
    return chosen.scale;
  }

  template <class Head>
  static __device__ Scale refit(const Head& head, const Scale& scale) {
    const KvFactors factors = Code::factors(scale);
    uint32_t counts = 0;  // of codes in the high half, of their squares in the low half
    typename Code::Fit fit{};
#pragma unroll
    for (int i = 0; i < Head::kChannels; ++i) {
      const auto tried = Code::tried(head.x[i], factors);
      const auto code = uint32_t(tried.code);
      counts += code * (code + 0x10000u);
      fit.distance += tried.distance;
      fit.product = fmaf(tried.code, tried.distance, fit.product);
    }
    if (!head.inside()) counts = 0, fit.distance = fit.product = 0;
    static_assert(KvLanes::kMaxChannels * 15 * 15 < 0x10000);
    counts = __reduce_add_sync(0xffffffff, counts);
    fit.codes = int(counts >> 16), fit.squares = int(counts & 0xffff);
    fit.distance = Sum::join_lanes(fit.distance);
    fit.product = Sum::join_lanes(fit.product);
    return Code::refit(scale, head.dim, fit);
  }
};

}  // namespace emberq::cuda
