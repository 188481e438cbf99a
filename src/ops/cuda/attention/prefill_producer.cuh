#pragma once

#include "ops/cuda/attention/expand_kv.cuh"
#include "ops/cuda/attention/prefill_memory.cuh"
#include "ops/cuda/ptx/tma.cuh"

// The warps of the prefill kernel that bring keys and values: one loads codes, a warpgroup expands
// them.
namespace emberq::cuda {

template <class Operands>
struct PrefillProducer {
  using Memory = PrefillMemory<Operands>;
  using Code = typename Operands::Code;
  static constexpr int kKeys = Operands::kKeys, kRawStages = Memory::kRawStages;

  // The loader: one warp, whose lanes each ask for a run of keys of one page.
  static __device__ void load(const PrefillArgs& a, Memory& m) {
    const int lane = int(threadIdx.x) % 32, all = m.fixed.schedule.tiles(a);
    int item = 0, index = int(blockIdx.x);
    for (int n = 0;; ++n) {
      const int slot = n % kWorkSlots;
      m.barrier(m.fixed.barriers.work_empty[slot]).wait(n / kWorkSlots % 2 ^ 1);
      const PrefillTile t = index < all ? m.fixed.schedule.tile(a, index) : PrefillTile{};
      if (lane == 0) {
        m.fixed.work[slot] = t;
        m.barrier(m.fixed.barriers.work_full[slot]).arrive();
      }
      if (index >= all) break;
      int next = 0;
      if (lane == 0) next = int(gridDim.x) + atomicAdd(a.counters, 1);
      for (int first = t.begin / kKeys * kKeys; first < t.end; first += kKeys)
        load_keys(a, m, t, first, item);
      index = __shfl_sync(~0u, next, 0);
    }
    // The last CTA to end leaves zeros for the next call.
    if (lane == 0 && atomicAdd(a.counters + 1, 1) == int(gridDim.x) - 1)
      a.counters[0] = a.counters[1] = 0;
  }

  // The expanding warpgroup.
  static __device__ void expand(const PrefillArgs& a, Memory& m) {
    const int thread = int(threadIdx.x) % 128;
    int item = 0, count = 0;
    for (int n = 0;; ++n) {
      const PrefillTile& t = m.wait_for_work(n);
      if (t.rows == 0) return;
      for (int first = t.begin / kKeys * kKeys; first < t.end; first += kKeys, ++count) {
        const int stage = count % kPrefillStages, phase = count / kPrefillStages % 2;
        const int keys = t.kv_length - first;
        auto& b = m.fixed.barriers;
        hand_over(m, item++, b.key_empty[stage], phase, b.key_full[stage], [&](const uint8_t* raw) {
          const uint32_t to = ptx::shared_address(m.fixed.keys[stage]);
          Operands::expand_keys(ptx::shared_address(raw), to, thread, keys);
          if constexpr (kHasScale<Code>)
            expand_scales(raw, m.fixed.scales[count % kScaleStages], thread, keys);
        });
        hand_over(m, item++, b.value_empty[stage], phase, b.value_full[stage],
                  [&](const uint8_t* raw) {
                    const uint32_t to = ptx::shared_address(m.fixed.values[stage]);
                    Operands::expand_values(ptx::shared_address(raw), to, thread, keys);
                  });
      }
      m.release_work(n);
    }
  }

 private:
  // Asks for the codes of up to kKeys keys from position `first` on, and of their values.
  static __device__ void load_keys(const PrefillArgs& a, Memory& m, const PrefillTile& t, int first,
                                   int& item) {
    constexpr int kRun = 16;  // pages have whole runs
    const int lane = int(threadIdx.x) % 32, page_tokens = int(a.cache.page_tokens);
    // Keys that the tile's pages have, and of these the lane's run, with those that follow it in
    // the page.
    const int keys = min(kKeys, (t.kv_length + kRun - 1) / kRun * kRun - first);
    const int at = lane * kRun, position = first + at, slot = position % page_tokens;
    const bool begins = at < keys && (lane == 0 || slot == 0);
    int64_t index = 0;
    if (begins)
      index = a.cache.index(a.pages[int64_t(t.sequence) * a.max_pages + position / page_tokens],
                            t.kv_head, slot);
    const int count = min(page_tokens - slot, keys - at);
    const uint64_t policy = ptx::l2_evict_last();
#pragma unroll
    for (int value = 0; value < 2; ++value, ++item) {
      const int stage = item % kRawStages;
      const ptx::Mbarrier full = m.barrier(m.raw_full[stage]);
      m.barrier(m.raw_empty[stage]).wait(item / kRawStages % 2 ^ 1);
      const int row_bytes = Operands::kRowBytes + (value ? 0 : 2 * Memory::kScaleBytes);
      if (lane == 0) full.arrive_expect_tx(uint32_t(keys * row_bytes));
      __syncwarp();
      if (!begins) continue;
      const uint32_t to = ptx::shared_address(m.raw[stage]);
      const auto copy = [&](uint32_t ring, const void* from, int bytes) {
        ptx::tma_load_1d(ring + uint32_t(at * bytes),
                         static_cast<const uint8_t*>(from) + index * bytes, uint32_t(count * bytes),
                         full, policy);
      };
      copy(to, value ? a.cache.value : a.cache.key, Operands::kRowBytes);
      if constexpr (kHasScale<Code>) {
        if (value) continue;
        constexpr int kScales = Memory::kCodeBytes;
        copy(to + kScales, a.cache.key_scale, Memory::kScaleBytes);
        copy(to + kScales + kKeys * Memory::kScaleBytes, a.cache.value_scale, Memory::kScaleBytes);
      }
    }
  }

  // Waits for entry `item` of the raw ring and for a free stage, expands, and passes both on.
  template <class Expand>
  static __device__ void hand_over(Memory& m, int item, const uint64_t& empty, int phase,
                                   const uint64_t& full, const Expand& expand) {
    const int stage = item % kRawStages;
    m.barrier(m.raw_full[stage]).wait(item / kRawStages % 2);
    m.barrier(empty).wait(phase ^ 1);
    expand(m.raw[stage]);
    ptx::fence_proxy_async();
    __syncwarp();
    if (threadIdx.x % 32 != 0) return;
    m.barrier(full).arrive();
    m.barrier(m.raw_empty[stage]).arrive();
  }

  // Key `thread` of a tile. Slots from `keys` on may hold anything, NaN too.
  static __device__ void expand_scales(const uint8_t* raw, typename Memory::Scales& to, int thread,
                                       int keys) {
    using Expand = typename Operands::Expand;
    const auto* stored =
        reinterpret_cast<const typename Code::Scale*>(raw + Memory::kCodeBytes) + thread;
    const int pair = thread / 2, i = thread % 2;
    const bool exists = thread < keys;
    const ScaleAndZero key = exists ? Expand::factors(stored[0]) : ScaleAndZero{0, 0},
                       value = exists ? Expand::factors(stored[kKeys]) : ScaleAndZero{1, 0};
    const float reciprocal = exists ? __frcp_rn(value.scale) : 0.0f;
    to.scores[pair].scale[i] = key.scale * Operands::kKeyFactor;
    to.scores[pair].log_scale[i] = log2f(value.scale);
    to.values[pair].reciprocal[i] = reciprocal;
    if constexpr (Operands::kHasZero) {
      to.values[pair].zero[i] = value.zero * reciprocal;
      to.key_zero[thread] = key.zero;
    }
  }
};

}  // namespace emberq::cuda
