#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_fp8.h>

#include <cstdint>

#include "format/lut4.h"
#include "ops/cuda/attention/kv_page.cuh"
#include "ops/cuda/ptx/mma.cuh"

// How attention's products take the codes of a cache: as operand A, in registers, keys or channels
// being the 16 rows. With lane = 4 g + t, a step of the product with queries takes 4 channels of
// the lane's quarter of the head (those from t * head_dim / 4 on) for keys g and g + 8. A step of
// the product with probabilities takes 16 keys and 16 channels, which ldmatrix has transposed:
//
//   struct ExpandKv<Code>
//     kStepsOfWord                         product steps that a word of a key's row feeds; or its
//     kWordsOfStep                         inverse; one of the two is 1
//     key(words, step, a0, a2)             operand registers of one key
//     query_channel(i), query_factor(i)    of b[0].x, b[0].y, b[1].x, b[1].y: the channel within
//                                          the step's word, and what queries are multiplied by
//     kTilesOfLoad                         tiles of 16 channels that one ldmatrix.x4 has: 2 chunks
//                                          of 16 bytes of 16 keys
//     value(r, tile, a)                    operand of one of them
//     value_channel(tile, half, g)         the channel of row g + 8 half of tile `tile` of a head
//     value_factor(half)                   what its sums are multiplied by
//     factors(Scale)                       a code's value is code * scale + zero, where a code is
//                                          the operand times key_factor or value_factor
//
// Scales become floats by the hardware's conversions: those of format/ have branches.
namespace emberq::cuda {

struct ScaleAndZero {
  float scale, zero;
};

template <class Code>
struct ExpandKv;

// Integer codes of four bits. A nibble u in bits 0 ... 3 of a half is the subnormal u * 2^-24, in
// bits 4 ... 7 it is 16 times that, so eight codes take four masks and one shift.
template <bool kSigned>
struct ExpandNibbles {
  static constexpr int kStepsOfWord = 2, kWordsOfStep = 1, kTilesOfLoad = 4;
  static constexpr float kKeyFactor = 0x1p24f;
  // Two's complement to offset binary.
  static __device__ uint32_t unsigned_codes(uint32_t word) {
    return kSigned ? word ^ 0x88888888u : word;
  }
  static __device__ void key(const uint32_t* words, int step, uint32_t& a0, uint32_t& a2) {
    const uint32_t codes = unsigned_codes(*words) >> (step % 2 ? 8 : 0);
    a0 = codes & 0x000f000fu, a2 = codes & 0x00f000f0u;
  }
  static __device__ constexpr int query_channel(int step, int i) {
    return step / 2 * 8 + step % 2 * 2 + i / 2 + i % 2 * 4;
  }
  static __device__ constexpr float query_factor(int i) { return i < 2 ? 1.0f : 0x1p-4f; }
  static __device__ void value(const uint32_t (&r)[4], int tile, uint32_t (&a)[4]) {
#pragma unroll
    for (int keys = 0; keys < 2; ++keys) {
      const uint32_t codes = unsigned_codes(r[tile / 2 * 2 + keys]) >> (tile % 2 ? 8 : 0);
      a[2 * keys] = codes & 0x000f000fu, a[2 * keys + 1] = codes & 0x00f000f0u;
    }
  }
  static __device__ constexpr int value_channel(int tile, int half, int g) {
    return tile / 2 * 32 + 4 * g + tile % 2 * 2 + half;
  }
  static __device__ constexpr float value_factor(int half) { return half ? 0x1p20f : 0x1p24f; }
};

template <>
struct ExpandKv<KvInt4Asym> : ExpandNibbles<false> {
  static __device__ ScaleAndZero factors(ZeroScale s) {
    const float2 both = __half22float2(reinterpret_cast<const __half2&>(s));
    return {both.x, both.y};
  }
};
template <>
struct ExpandKv<KvInt4Head> : ExpandNibbles<true> {
  static __device__ ScaleAndZero factors(E4m3Scale s) {
    const __half half(__nv_cvt_fp8_to_halfraw(s.code, __NV_E4M3));
    return {__half2float(half), -8 * __half2float(half)};
  }
};

// Lookups of the two bytes of a half, one for four codes each, and the sign.
template <>
struct ExpandKv<KvLut4Head> {
  static constexpr int kStepsOfWord = 2, kWordsOfStep = 1, kTilesOfLoad = 4;
  // The halves of magnitude / 256: their low and their high bytes.
  static constexpr float kKeyFactor = 256;
  template <int kShift>
  static consteval uint32_t bytes(int first) {
    uint32_t word = 0;
    for (int i = 0; i < 4; ++i) {
      const uint16_t half = fp16::from_float(kLut4Magnitudes[size_t(first + i)] / kKeyFactor).bits;
      word |= uint32_t(half >> kShift & 255) << 8 * i;
    }
    return word;
  }
  // Of four nibbles: the low bytes and the high bytes of their halves, sign included.
  static __device__ void lookup(uint32_t nibbles, uint32_t& low, uint32_t& high) {
    const uint32_t index = nibbles & 0x7777u;
    low = __byte_perm(bytes<0>(0), bytes<0>(4), index);
    high = __byte_perm(bytes<8>(0), bytes<8>(4), index);
    // Bits 3, 7, 11, 15 to bits 7, 15, 23, 31.
    const uint32_t sign = nibbles & 0x8888u;
    const uint32_t spread = (sign << 4 & 0x80u) | (sign << 8 & 0x8000u) | (sign << 12 & 0x800000u) |
                            (sign << 16 & 0x80000000u);
    high |= spread;
  }
  static __device__ void key(const uint32_t* words, int step, uint32_t& a0, uint32_t& a2) {
    uint32_t low, high;
    lookup(*words >> (step % 2 ? 16 : 0), low, high);
    a0 = __byte_perm(low, high, 0x5140), a2 = __byte_perm(low, high, 0x7362);
  }
  static __device__ constexpr int query_channel(int step, int i) { return 4 * step + i; }
  static __device__ constexpr float query_factor(int) { return 1; }
  static __device__ void value(const uint32_t (&r)[4], int tile, uint32_t (&a)[4]) {
#pragma unroll
    for (int keys = 0; keys < 2; ++keys) {
      const uint32_t word = r[tile / 2 * 2 + keys] >> (tile % 2 ? 8 : 0);
      // Two codes of either key: (key 0, channel 0), (key 1, channel 0), then channel 1.
      const uint32_t nibbles =
          (word & 0xf) | (word >> 12 & 0xf0) | (word << 4 & 0xf00) | (word >> 8 & 0xf000);
      uint32_t low, high;
      lookup(nibbles, low, high);
      a[2 * keys] = __byte_perm(low, high, 0x5140),
            a[2 * keys + 1] = __byte_perm(low, high, 0x7362);
    }
  }
  static __device__ constexpr int value_channel(int tile, int half, int g) {
    return tile / 2 * 32 + 4 * g + tile % 2 * 2 + half;
  }
  static __device__ constexpr float value_factor(int) { return kKeyFactor; }
  static __device__ ScaleAndZero factors(Bf16Scale s) {
    return {__uint_as_float(uint32_t(s.stored.bits) << 16), 0};
  }
};

// Bytes q + 128 as the halves 1024 + q + 128, less 1152.
template <>
struct ExpandKv<KvInt8Head> {
  static constexpr int kStepsOfWord = 1, kWordsOfStep = 1, kTilesOfLoad = 2;
  static constexpr float kKeyFactor = 1;
  static __device__ uint32_t expand(uint32_t bytes, uint32_t selector) {
    const uint32_t biased = __byte_perm(bytes ^ 0x80808080u, 0x64646464u, selector);
    const __half2 x = reinterpret_cast<const __half2&>(biased);
    const __half2 y = __hsub2(x, __float2half2_rn(1152));
    return reinterpret_cast<const uint32_t&>(y);
  }
  static __device__ void key(const uint32_t* words, int, uint32_t& a0, uint32_t& a2) {
    a0 = expand(*words, 0x4140), a2 = expand(*words, 0x4342);
  }
  static __device__ constexpr int query_channel(int step, int i) { return 4 * step + i; }
  static __device__ constexpr float query_factor(int) { return 1; }
  static __device__ void value(const uint32_t (&r)[4], int tile, uint32_t (&a)[4]) {
#pragma unroll
    for (int keys = 0; keys < 2; ++keys) {
      a[2 * keys] = expand(r[2 * tile + keys], 0x4240);
      a[2 * keys + 1] = expand(r[2 * tile + keys], 0x4341);
    }
  }
  static __device__ constexpr int value_channel(int tile, int half, int g) {
    return tile * 16 + 2 * g + half;
  }
  static __device__ constexpr float value_factor(int) { return 1; }
  static __device__ ScaleAndZero factors(Bf16Scale s) {
    return {__uint_as_float(uint32_t(s.stored.bits) << 16), 0};
  }
};

template <>
struct ExpandKv<KvBf16> {
  static constexpr int kStepsOfWord = 1, kWordsOfStep = 2, kTilesOfLoad = 1;
  static constexpr float kKeyFactor = 1;
  static __device__ void key(const uint32_t* words, int, uint32_t& a0, uint32_t& a2) {
    a0 = words[0], a2 = words[1];
  }
  static __device__ constexpr int query_channel(int step, int i) { return 4 * step + i; }
  static __device__ constexpr float query_factor(int) { return 1; }
  static __device__ void value(const uint32_t (&r)[4], int, uint32_t (&a)[4]) {
    a[0] = r[0], a[1] = r[2], a[2] = r[1], a[3] = r[3];
  }
  static __device__ constexpr int value_channel(int tile, int half, int g) {
    return tile * 16 + 8 * half + g;
  }
  static __device__ constexpr float value_factor(int) { return 1; }
};

// A pair of operand numbers: BF16 for a cache of BF16, else FP16.
template <class Code>
__device__ uint32_t operand_pair(float first, float second) {
  if constexpr (kHasScale<Code>) {
    const __half2 pair = __floats2half2_rn(first, second);
    return reinterpret_cast<const uint32_t&>(pair);
  } else {
    const __nv_bfloat162 pair = __floats2bfloat162_rn(first, second);
    return reinterpret_cast<const uint32_t&>(pair);
  }
}
template <class Code>
__device__ void mma(float (&d)[4], const uint32_t* a, const uint32_t* b) {
  if constexpr (kHasScale<Code>)
    ptx::mma_f16(d, a, b);
  else
    ptx::mma_bf16(d, a, b);
}
// 2^x to 2 units in the last place, 0 below 2^-126.
__device__ inline float exp2_approx(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

}  // namespace emberq::cuda
