#pragma once

#include <algorithm>

#include "ops/cuda/attention/prefill_schedule.cuh"
#include "ops/cuda/ptx/mbarrier.cuh"
#include "ops/cuda/ptx/shared_memory.cuh"

// What the warpgroups of the prefill kernel share.
namespace emberq::cuda {

inline constexpr int kPrefillStages = 2;  // of keys, and of values
inline constexpr int kScaleStages = 4;
inline constexpr int kWorkSlots = 2;

// Shared memory of a CTA. Rings:
//
//   work     tiles of queries, from the loader to all
//   raw      codes of a tile's keys with both scales, then of its values, and so on; from the
//            loader (by bulk copies) to the expanding warpgroup
//   key,     numbers, from the expanding warpgroup to the multiplying ones
//   value
//
// Scales of both are handed over with the keys. They are read until the tile's probabilities are
// there, which is before the next tile's keys are released, so a ring of four needs no barriers.
template <class Operands>
struct PrefillMemory {
  using Code = typename Operands::Code;
  static constexpr int kKeys = Operands::kKeys;
  static constexpr int scale_bytes() {
    if constexpr (kHasScale<Code>)
      return int(sizeof(typename Code::Scale));
    else
      return 0;
  }
  static constexpr int kScaleBytes = scale_bytes();
  static constexpr int kCodeBytes = kKeys * Operands::kRowBytes;
  static constexpr int kRawBytes = (kCodeBytes + 2 * kKeys * kScaleBytes + 127) / 128 * 128;
  // What a warpgroup has for its queries, and at the end for its outputs.
  static constexpr int kQueryBytes = 64 * Operands::kDim * 2;
  static_assert(kQueryBytes >= Operands::kQueryBytes);

  // Of two keys that follow each other, as a thread's sums have them: a score is
  // factor * (scale * sum + zero * sum of queries) + log_scale, the last one the logarithm of the
  // value's scale; so a probability times the value's scale is exp2(score - maximum).
  struct PairOfScores {
    float scale[2], log_scale[2];
  };
  struct PairOfValues {
    float reciprocal[2];  // 1 / scale of the value
    float zero[2];        // its zero point / scale
  };
  struct alignas(16) Scales {
    PairOfScores scores[kKeys / 2];
    PairOfValues values[kKeys / 2];
    float key_zero[Operands::kHasZero ? kKeys : 2];
  };
  static constexpr int kScaleStagesUsed = kHasScale<Code> ? kScaleStages : 1;

  struct Barriers {
    uint64_t work_full[kWorkSlots], work_empty[kWorkSlots];
    uint64_t key_full[kPrefillStages], key_empty[kPrefillStages];
    uint64_t value_full[kPrefillStages], value_empty[kPrefillStages];
  };
  struct Fixed {
    alignas(1024) uint8_t keys[kPrefillStages][Operands::kKeyBytes];
    alignas(1024) uint8_t values[kPrefillStages][Operands::kValueBytes];
    alignas(1024) uint8_t queries[2][kQueryBytes];
    Scales scales[kScaleStagesUsed];
    PrefillSchedule schedule;
    PrefillTile work[kWorkSlots];  // of no rows: there are no more
    alignas(8) Barriers barriers;
  };
  static constexpr int kLimit = (227 << 10) - 1024;  // the base is aligned by hand
  static constexpr int kRawStages =
      std::min(8, (kLimit - int(sizeof(Fixed)) - 128) / (kRawBytes + 16));
  static_assert(kRawStages >= 2);

  Fixed fixed;
  alignas(128) uint8_t raw[kRawStages][kRawBytes];
  alignas(8) uint64_t raw_full[kRawStages], raw_empty[kRawStages];

  static __device__ ptx::Mbarrier barrier(const uint64_t& b) { return {ptx::shared_address(&b)}; }

  // By one thread. Warps arrive, not threads.
  __device__ void init_barriers() {
    constexpr int kExpanding = 4, kMultiplying = 8;
    for (int i = 0; i < kWorkSlots; ++i) {
      barrier(fixed.barriers.work_full[i]).init(1);
      barrier(fixed.barriers.work_empty[i]).init(kExpanding + kMultiplying);
    }
    for (int i = 0; i < kPrefillStages; ++i) {
      barrier(fixed.barriers.key_full[i]).init(kExpanding);
      barrier(fixed.barriers.value_full[i]).init(kExpanding);
      barrier(fixed.barriers.key_empty[i]).init(kMultiplying);
      barrier(fixed.barriers.value_empty[i]).init(kMultiplying);
    }
    for (int i = 0; i < kRawStages; ++i) {
      barrier(raw_full[i]).init(1);
      barrier(raw_empty[i]).init(kExpanding);
    }
  }

  // Entry `n` of the work ring. Each warp releases it after its last use.
  __device__ const PrefillTile& wait_for_work(int n) const {
    barrier(fixed.barriers.work_full[n % kWorkSlots]).wait(n / kWorkSlots % 2);
    return fixed.work[n % kWorkSlots];
  }
  __device__ void release_work(int n) const {
    __syncwarp();
    if (threadIdx.x % 32 == 0) barrier(fixed.barriers.work_empty[n % kWorkSlots]).arrive();
  }
};

}  // namespace emberq::cuda
