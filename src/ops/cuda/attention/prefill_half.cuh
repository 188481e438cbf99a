#pragma once

#include "ops/cuda/attention/expand_kv.cuh"
#include "ops/cuda/attention/prefill_schedule.cuh"
#include "ops/cuda/ptx/shared_memory.cuh"
#include "ops/cuda/ptx/wgmma_half.cuh"

// The operands of the prefill kernel as 16-bit numbers: FP16 from codes, BF16 from BF16.
namespace emberq::cuda {

// An operand struct of PrefillKernel. Keys and values become rows of numbers in shared memory, in
// panels of 64 channels that wgmma reads in its 128-byte swizzle: operand B of both products, for
// values transposed by wgmma. Channels within eight are in the order in which codes expand at the
// least cost, and some are a power of two too large (ExpandKv). Queries have the same order and the
// inverse factors; outputs are put back at the end.
template <class TheCode, int TheDim>
struct HalfOperands {
  using Code = TheCode;
  using Expand = ExpandKv<Code>;
  static constexpr bool kHasZero =
      kHasScale<Code> && !std::is_same_v<Code, KvLut4Head> && !std::is_same_v<Code, KvInt8Head>;
  // Of a tile. Codes of 16 bits leave no room for 128 keys of 128 channels.
  static constexpr bool kTwoLevels = false;  // of sums: wgmma's own are FP32
  static constexpr int kDim = TheDim;
  static constexpr int kKeys = !kHasScale<Code> && kDim == 128 ? 64 : 128;
  static constexpr int kRowBytes = kDim * Code::kBits / 8;
  static constexpr int kPanels = kDim / 64, kKeyPanel = kKeys * 128, kQueryPanel = 64 * 128;
  static constexpr int kKeyBytes = kPanels * kKeyPanel, kValueBytes = kKeyBytes,
                       kQueryBytes = kPanels * kQueryPanel;
  // Probabilities reach up to 2^kShift: FP16 holds small ones to 2^-14 without loss.
  static constexpr float kShift = kHasScale<Code> ? 15 : 0;
  // Of a key's number, and of a sum at place `place` of eight.
  static constexpr int kExpandRegisters = 56;  // of a thread that expands
  static constexpr float kKeyFactor = Expand::kKeyFactor;
  static __device__ constexpr float output_factor(int place) {
    return Expand::kKeyFactor * Expand::query_factor(place % 4);
  }
  static constexpr bool kWholeChunks = false;
  static __device__ constexpr int output_channel(int block, int place) {
    return 8 * block + channel_at(place);
  }
  // The channel, of eight, that the number at `place` belongs to.
  static __device__ constexpr int channel_at(int place) {
    return Expand::query_channel(place / 4, place % 4);
  }

  // Where 16 bytes, chunk `chunk` of eight channels of row `row`, are.
  static __device__ uint32_t place(int panel_bytes, int row, int chunk) {
    return uint32_t(chunk / 8 * panel_bytes + row * 128 + ((chunk ^ row) & 7) * 16);
  }

  // Stores eight channels of a query.
  static __device__ void store_query(uint32_t to, int row, int chunk, const float* x, float down) {
    uint32_t words[4];
#pragma unroll
    for (int i = 0; i < 4; ++i)
      words[i] = operand_pair<Code>(
          x[channel_at(2 * i)] * (down * Expand::query_factor(2 * i % 4)),
          x[channel_at(2 * i + 1)] * (down * Expand::query_factor((2 * i + 1) % 4)));
    ptx::st_shared_v4(to + place(kQueryPanel, row, chunk),
                      {words[0], words[1], words[2], words[3]});
  }

  // Expands a tile's codes at address `from`; thread of 128. Keys from `keys` on do not exist:
  // their codes are numbers, but bytes of BF16 may be NaN, and 0 * NaN is no 0.
  static __device__ void expand_keys(uint32_t from, uint32_t to, int thread, int keys) {
    constexpr int kThreadsOfRow = 128 / kKeys, kChunks = kRowBytes / 16 / kThreadsOfRow;
    constexpr int kWords = Code::kBits / 4;  // of eight channels
    const int row = thread % kKeys, first = thread / kKeys * kChunks;
#pragma unroll
    for (int i = 0; i < kChunks; ++i) {
      const int chunk = first + i;
      const uint4 v = ptx::ld_shared_v4(
          from + uint32_t(row * kRowBytes + exchanged(kRowBytes, row, chunk * 16)));
      const uint32_t words[4] = {v.x, v.y, v.z, v.w};
#pragma unroll
      for (int j = 0; j < 4 / kWords; ++j) {
        uint32_t x[4];
        expand_eight(words + j * kWords, x);
        if (!kHasScale<Code> && row >= keys) x[0] = x[1] = x[2] = x[3] = 0;
        ptx::st_shared_v4(to + place(kKeyPanel, row, chunk * (4 / kWords) + j),
                          {x[0], x[1], x[2], x[3]});
      }
    }
  }
  static __device__ void expand_values(uint32_t from, uint32_t to, int thread, int keys) {
    expand_keys(from, to, thread, keys);
  }

  // s = queries times keys, by one warpgroup, not waited for.
  static __device__ void score(uint64_t query, uint64_t key, float (&s)[kKeys / 2]) {
    using Mma = std::conditional_t<kHasScale<Code>, ptx::WgmmaF16Shared<kKeys>,
                                   ptx::WgmmaBf16Shared<kKeys>>;
#pragma unroll
    for (int step = 0; step < kDim / 16; ++step)
      Mma::run(s, query + uint32_t(step / 4 * (kQueryPanel >> 4) + step % 4 * 2),
               key + uint32_t(step / 4 * (kKeyPanel >> 4) + step % 4 * 2), step > 0);
  }
  static __device__ uint64_t query_descriptor(uint32_t at) { return ptx::make_smem_desc_128B(at); }
  static __device__ uint64_t key_descriptor(uint32_t at) { return ptx::make_smem_desc_128B(at); }
  static __device__ uint64_t value_descriptor(uint32_t at) {
    return ptx::make_smem_desc_transposed(at, kKeyPanel);
  }

  // Probabilities as operand A: the order of a sum's registers is that of the operand's.
  using Probabilities = uint32_t[kKeys / 4];
  static __device__ void round(const float (&e)[kKeys / 2], Probabilities& p) {
#pragma unroll
    for (int i = 0; i < kKeys / 4; ++i) p[i] = operand_pair<Code>(e[2 * i], e[2 * i + 1]);
  }
  // sums += probabilities times values, not waited for.
  static __device__ void add_values(const Probabilities& p, uint64_t value,
                                    float (&sums)[kDim / 2]) {
    using Mma = std::conditional_t<kHasScale<Code>, ptx::WgmmaF16Transposed<kDim>,
                                   ptx::WgmmaBf16Transposed<kDim>>;
#pragma unroll
    for (int step = 0; step < kKeys / 16; ++step)
      Mma::run(sums, p + 4 * step, value + uint32_t(step * (16 * 128 >> 4)));
  }

 private:
  // Eight channels in the order of channel_at().
  static __device__ void expand_eight(const uint32_t* words, uint32_t (&x)[4]) {
#pragma unroll
    for (int step = 0; step < 2; ++step)
      Expand::key(words + step * (Code::kBits / 8), step, x[2 * step], x[2 * step + 1]);
  }
};

}  // namespace emberq::cuda
