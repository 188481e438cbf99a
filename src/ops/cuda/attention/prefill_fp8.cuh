#pragma once

#include <cuda_fp8.h>

#include "ops/cuda/attention/expand_kv.cuh"
#include "ops/cuda/attention/prefill_schedule.cuh"
#include "ops/cuda/ptx/shared_memory.cuh"
#include "ops/cuda/ptx/wgmma_half.cuh"

// The operands of the prefill kernel as e4m3 numbers: heads of 128 channels and codes of four bits,
// which are e4m3 numbers without loss; queries that are e4m3 already; probabilities times values'
// scales, rounded to e4m3.
namespace emberq::cuda {

// Eight codes of a word, even channels and odd ones, as e4m3.
template <class Code>
struct ExpandFp8;

// A nibble u in a byte is the e4m3 number u * 2^-9, subnormal or with the least exponent.
template <>
struct ExpandFp8<KvInt4Asym> {
  static constexpr float kFactor = 512;
  static __device__ void run(uint32_t word, uint32_t& even, uint32_t& odd) {
    even = word & 0x0f0f0f0fu, odd = word >> 4 & 0x0f0f0f0fu;
  }
};
// Two's complement to offset binary.
template <>
struct ExpandFp8<KvInt4Head> {
  static constexpr float kFactor = 512;
  static __device__ void run(uint32_t word, uint32_t& even, uint32_t& odd) {
    ExpandFp8<KvInt4Asym>::run(word ^ 0x88888888u, even, odd);
  }
};
template <>
struct ExpandFp8<KvLut4Head> {
  static constexpr float kFactor = 1;
  static consteval uint32_t bytes(int first) {
    uint32_t word = 0;
    for (int i = 0; i < 4; ++i)
      word |= uint32_t(fp8_encode(kLut4Magnitudes[size_t(first + i)])) << 8 * i;
    return word;
  }
  static __device__ void run(uint32_t word, uint32_t& even, uint32_t& odd) {
    constexpr uint32_t kLow = bytes(0), kHigh = bytes(4);
    const uint32_t index = word & 0x77777777u;
    const uint32_t first = __byte_perm(kLow, kHigh, index),
                   last = __byte_perm(kLow, kHigh, index >> 16);
    even = __byte_perm(first, last, 0x6420) | (word << 4 & 0x80808080u);
    odd = __byte_perm(first, last, 0x7531) | (word & 0x80808080u);
  }
};

// An operand struct of PrefillKernel. Keys become rows of 128 bytes, and values rows of the keys of
// a channel, in the 128-byte swizzle. Within eight, channels of keys are the even ones, then the
// odd ones. wgmma sums e4m3 products in fewer than 24 bits, so each tile has its own sums.
template <class TheCode>
struct Fp8Operands {
  using Code = TheCode;
  using Expand = ExpandKv<Code>;
  static constexpr bool kHasZero = !std::is_same_v<Code, KvLut4Head>;
  static constexpr bool kTwoLevels = true;
  static constexpr int kDim = 128, kKeys = 128, kRowBytes = kDim / 2;
  static constexpr int kKeyBytes = kKeys * kDim, kValueBytes = kDim * kKeys,
                       kQueryBytes = 64 * kDim;
  // Probabilities reach up to 256 of e4m3's 448, and down to 2^-6 without loss.
  static constexpr float kShift = 8;
  static constexpr int kExpandRegisters = 72;  // of a thread that expands
  static constexpr float kKeyFactor = ExpandFp8<Code>::kFactor;
  static __device__ constexpr float output_factor(int) { return kKeyFactor; }
  // The sums of a thread in four blocks are eight channels in a row: channel 4 h + i of these is
  // sum h of block i.
  static constexpr bool kWholeChunks = true;
  // The channel of column `place` of eight, of block `block` of eight columns of the sums.
  static __device__ constexpr int output_channel(int block, int place) {
    return block / 4 * 32 + 4 * place + block % 4;
  }

  // Where 16 bytes, chunk `chunk` of row `row`, are.
  static __device__ uint32_t place(int row, int chunk) {
    return uint32_t(row * 128 + ((chunk ^ row) & 7) * 16);
  }

  // Stores eight channels of a query.
  static __device__ void store_query(uint32_t to, int row, int chunk, const float* x, float) {
    const uint32_t even = four(x[0], x[2], x[4], x[6]), odd = four(x[1], x[3], x[5], x[7]);
    ptx::st_shared_v2(to + place(row, chunk / 2) + uint32_t(chunk % 2 * 8), {even, odd});
  }

  static __device__ void expand_keys(uint32_t from, uint32_t to, int thread, int) {
#pragma unroll
    for (int chunk = 0; chunk < kRowBytes / 16; ++chunk) {
      const uint4 v = ptx::ld_shared_v4(
          from + uint32_t(thread * kRowBytes + exchanged(kRowBytes, thread, chunk * 16)));
      uint4 low, high;
      ExpandFp8<Code>::run(v.x, low.x, low.y), ExpandFp8<Code>::run(v.y, low.z, low.w);
      ExpandFp8<Code>::run(v.z, high.x, high.y), ExpandFp8<Code>::run(v.w, high.z, high.w);
      ptx::st_shared_v4(to + place(thread, 2 * chunk), low);
      ptx::st_shared_v4(to + place(thread, 2 * chunk + 1), high);
    }
  }

  // Each warp has 32 keys. ldmatrix gives lane 4 g + t channels 4 g ... 4 g + 3 of a chunk for keys
  // 2 t and 2 t + 1 of each eight. Four keys, of sixteen, make a word of a channel's row, so that
  // keys have the order 0, 1, 8, 9, 2, 3, 10, 11 ...: that of a score's sums in registers, which
  // become operand A. Channel 4 g + i has row 8 i + g: the eight rows that lanes store to at a time
  // are in different banks.
  static __device__ void expand_values(uint32_t from, uint32_t to, int thread, int) {
    const int warp = thread / 32, lane = thread % 32, g = lane / 4, t = lane % 4;
#pragma unroll
    for (int chunk = 0; chunk < kRowBytes / 16; ++chunk) {
      uint32_t keys[4];
      ptx::ldmatrix_x4_trans(
          from + uint32_t(thread * kRowBytes + exchanged(kRowBytes, thread, chunk * 16)), keys);
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const uint32_t first = keys[2 * half], last = keys[2 * half + 1];
        uint32_t channel[4];
        ExpandFp8<Code>::run(__byte_perm(first, last, 0x6420), channel[0], channel[1]);
        ExpandFp8<Code>::run(__byte_perm(first, last, 0x7531), channel[2], channel[3]);
#pragma unroll
        for (int i = 0; i < 4; ++i)
          ptx::st_shared(to + place(32 * chunk + 8 * i + g, 2 * warp + half) + uint32_t(4 * t),
                         channel[i]);
      }
    }
  }

  // s = queries times keys, by one warpgroup, not waited for.
  static __device__ void score(uint64_t query, uint64_t key, float (&s)[kKeys / 2]) {
#pragma unroll
    for (int step = 0; step < kDim / 32; ++step)
      ptx::WgmmaE4m3Shared<kKeys>::run(s, query + uint32_t(2 * step), key + uint32_t(2 * step),
                                       step > 0);
  }
  static __device__ uint64_t query_descriptor(uint32_t at) { return ptx::make_smem_desc_128B(at); }
  static __device__ uint64_t key_descriptor(uint32_t at) { return ptx::make_smem_desc_128B(at); }
  static __device__ uint64_t value_descriptor(uint32_t at) { return ptx::make_smem_desc_128B(at); }

  // Probabilities as operand A.
  using Probabilities = uint32_t[kKeys / 8];
  static __device__ void round(const float (&e)[kKeys / 2], Probabilities& p) {
#pragma unroll
    for (int i = 0; i < kKeys / 8; ++i) {  // of 16 keys: rows g and g + 8
      const float* x = e + i / 2 * 8 + i % 2 * 2;
      p[i] = four(x[0], x[1], x[4], x[5]);
    }
  }
  // part = probabilities times values, not waited for.
  static __device__ void add_values(const Probabilities& p, uint64_t value,
                                    float (&part)[kDim / 2]) {
#pragma unroll
    for (int step = 0; step < kKeys / 32; ++step)
      ptx::WgmmaE4m3<kDim>::run(part, p + 4 * step, value + uint32_t(2 * step), step > 0);
  }

 private:
  static __device__ uint32_t four(float a, float b, float c, float d) {
    const uint32_t low = __nv_cvt_float2_to_fp8x2({a, b}, __NV_SATFINITE, __NV_E4M3),
                   high = __nv_cvt_float2_to_fp8x2({c, d}, __NV_SATFINITE, __NV_E4M3);
    return low | high << 16;
  }
};

}  // namespace emberq::cuda
