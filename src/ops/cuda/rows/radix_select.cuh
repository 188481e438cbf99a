#pragma once

#include "ops/cuda/ptx/cluster.cuh"

namespace emberq::cuda {

// Selection from a row that a cluster shares, without sorting it. Each value has an order, smaller
// where it comes first, and an amount. What is sought is the order at which the sum of the amounts,
// from the first on, reaches a target. It is found digit by digit: a pass over the row sums the
// amounts of each value of the digit. The sums are integers, so that the order of additions, and
// whatever else runs, does not change them.
//
// A source says what is selected from:
//
//   template <class Each> void for_each(Each each) const;   each(value, column), of this thread's
//   uint32_t order(float value, int column) const;          kNoOrder: not in the selection
//   uint64_t amount(float value) const;
//
// All threads of the cluster call the same functions, and all get the result. The kernel begins
// with cluster_arrive() and cluster_wait(), and ends with both.
template <int kThreads, int kCtas>
class RadixSelect {
 public:
  static constexpr uint32_t kNoOrder = 0xffffffffu;
  static constexpr int kBins = 2048;

  // In shared memory.
  struct Memory {
    union {
      uint32_t halves[2][kBins];  // this CTA's sums, low and high halves: atomics have 32 bits
      uint64_t sums[kBins];       // the cluster's
    };
    uint64_t first[kBins];          // the cluster's, of the first digit; of who asks for them
    uint64_t share[kBins / kCtas];  // the cluster's, of the bins that this CTA adds up
    uint64_t warps[kThreads / 32];
    uint64_t found_before, found_amount;
    uint32_t found_bin;
  };

  // An order, the sum of the amounts before it, and that of its own values.
  struct Place {
    uint32_t order;
    uint64_t before, amount;
  };

  explicit __device__ RadixSelect(Memory& memory) : memory_(memory) {}

  // Fills memory.first for the functions below; the sum of all amounts.
  template <class Source>
  __device__ uint64_t sum_first_digit(const Source& source) {
    sum_digits(source, 0, 0, memory_.first);
    const Place last =
        find(memory_.first, [](uint32_t bin, uint64_t, uint64_t) { return bin == kBins - 1; });
    return last.before + last.amount;
  }

  // Where the sum reaches the target, which is from 1 to the sum of all amounts.
  template <class Source>
  __device__ Place reach(const Source& source, uint64_t target, int first_digit = 0) {
    return descend(source, first_digit, memory_.sums, target, 0);
  }
  // The same with memory.first as it is.
  template <class Source>
  __device__ Place reach_from_first(const Source& source, uint64_t target) {
    return descend(source, 0, memory_.first, target, 0);
  }
  // The place of an order, with memory.first as it is.
  template <class Source>
  __device__ Place at_from_first(const Source& source, uint32_t order) {
    return descend(source, 0, memory_.first, 0, order);
  }

 private:
  // Digits of 11, 11 and 10 bits, the highest first.
  static constexpr int kDigits = 3;
  static __device__ int shift(int digit) { return digit == 0 ? 21 : digit == 1 ? 10 : 0; }
  static __device__ int bits(int digit) { return digit == 2 ? 10 : 11; }

  // The cluster's sums for each value of a digit, of the orders whose higher digits are `prefix`.
  template <class Source>
  __device__ void sum_digits(const Source& source, int digit, uint32_t prefix, uint64_t* sums) {
    const int low_bits = shift(digit), digit_bits = bits(digit), thread = int(threadIdx.x);
    for (int i = thread; i < kBins; i += kThreads) memory_.halves[0][i] = memory_.halves[1][i] = 0;
    __syncthreads();
    source.for_each([&](float value, int column) {
      const uint32_t order = source.order(value, column);
      if (order == kNoOrder || uint64_t(order) >> (low_bits + digit_bits) != prefix) return;
      const uint64_t amount = source.amount(value);
      const auto low = uint32_t(amount);
      auto high = uint32_t(amount >> 32);
      const uint32_t bin = order >> low_bits & ((1u << digit_bits) - 1);
      if (low != 0 && atomicAdd(&memory_.halves[0][bin], low) + low < low) ++high;
      if (high != 0) atomicAdd(&memory_.halves[1][bin], high);
    });
    ptx::cluster_sync();
    // Each CTA adds a share of the bins up, then all take all shares.
    constexpr int kShare = kBins / kCtas;
    for (int i = thread; i < kShare; i += kThreads) {
      const int bin = int(ptx::cluster_cta_rank()) * kShare + i;
      uint64_t sum = 0;
#pragma unroll
      for (int cta = 0; cta < kCtas; ++cta)
        sum += load(&memory_.halves[0][bin], cta) +
               (uint64_t(load(&memory_.halves[1][bin], cta)) << 32);
      memory_.share[i] = sum;
    }
    ptx::cluster_sync();
    for (int bin = thread; bin < kBins; bin += kThreads)
      sums[bin] = ptx::ld_shared_cluster_u64(
          ptx::map_shared_address(&memory_.share[bin % kShare], uint32_t(bin / kShare)));
    __syncthreads();
  }
  static __device__ uint32_t load(const uint32_t* number, int cta) {
    return ptx::ld_shared_cluster_u32(ptx::map_shared_address(number, uint32_t(cta)));
  }

  // The one bin for which hit(bin, the sum before it, its sum) is true.
  template <class Hit>
  __device__ Place find(const uint64_t* sums, Hit hit) {
    constexpr int kEach = kBins / kThreads;
    static_assert(kEach * kThreads == kBins);
    const int warp = int(threadIdx.x) / 32, lane = int(threadIdx.x) % 32;
    const uint32_t begin = threadIdx.x * kEach;
    uint64_t sum = 0;
    for (int i = 0; i < kEach; ++i) sum += sums[begin + i];
    uint64_t before = sum;  // with this thread's and those of the lanes before
    for (int offset = 1; offset < 32; offset *= 2) {
      const uint64_t other = __shfl_up_sync(0xffffffff, before, offset);
      if (lane >= offset) before += other;
    }
    if (lane == 31) memory_.warps[warp] = before;
    before -= sum;
    __syncthreads();
    for (int w = 0; w < warp; ++w) before += memory_.warps[w];
    for (int i = 0; i < kEach; ++i) {
      const uint64_t amount = sums[begin + i];
      if (hit(begin + i, before, amount)) {
        memory_.found_bin = begin + i;
        memory_.found_before = before, memory_.found_amount = amount;
      }
      before += amount;
    }
    __syncthreads();
    return {memory_.found_bin, memory_.found_before, memory_.found_amount};
  }

  // To the order where the sum reaches `target`, or, where that is 0, to `order`. `first` has the
  // sums of digit 0 already, unless it is memory.sums.
  template <class Source>
  __device__ Place descend(const Source& source, int digit, uint64_t* first, uint64_t target,
                           uint32_t order) {
    Place place{0, 0, 0};
    for (; digit < kDigits; ++digit) {
      uint64_t* sums = digit == 0 ? first : memory_.sums;
      if (sums == memory_.sums) sum_digits(source, digit, place.order, sums);
      const uint32_t own = order >> shift(digit) & ((1u << bits(digit)) - 1);
      const Place found = find(sums, [&](uint32_t bin, uint64_t before, uint64_t amount) {
        const uint64_t reached = place.before + before;
        return target == 0 ? bin == own : reached < target && target <= reached + amount;
      });
      place.order = place.order << bits(digit) | found.order;
      place.before += found.before;
      place.amount = found.amount;
    }
    return place;
  }

  Memory& memory_;
};

}  // namespace emberq::cuda
