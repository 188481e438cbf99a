#pragma once

#include <cuda_bf16.h>

#include <array>
#include <cmath>
#include <cstdint>
#include <type_traits>

#include "format/hadamard.h"
#include "format/kv_code.h"
#include "ops/cuda/attention/attention.h"
#include "ops/cuda/rows/reduce.cuh"

// A head of a token in the registers of a warp, and what rope_append_kv does to it.
namespace emberq::cuda {

// The transform of format/hadamard.h, as a kernel's argument.
struct HadamardOfHead {
  int size = 0, order = 1;  // size 0: none
  float scale = 1;
  // Bit i: Paley's sign at row + column - 2 = i is negative.
  std::array<uint32_t, 2 * kMaxHeadDim / 32> negative{};

  static HadamardOfHead of(int64_t head_dim) {
    HadamardOfHead transform;
    transform.size = int(hadamard_size(head_dim));
    transform.order = int(paley_order(transform.size));
    transform.scale = float(1 / std::sqrt(double(transform.size)));
    const int q = transform.order - 1;
    for (int root = 0; q > 0 && root < q; ++root)
      for (const int i : {root * root % q, root * root % q + q})
        transform.negative[size_t(i / 32)] |= 1u << i % 32;
    return transform;
  }
};

// kCount numbers from `from` on, as float; `packed`: by loads of up to 16 bytes.
template <int kCount>
__device__ void load_channels(const float* from, bool packed, float (&to)[kCount]) {
  constexpr int kPack = kCount < 4 ? kCount : 4;
  using Pack = std::conditional_t<kPack == 2, float2, float4>;
  if (packed) {
#pragma unroll
    for (int i = 0; i < kCount / kPack; ++i)
      *reinterpret_cast<Pack*>(to + kPack * i) = reinterpret_cast<const Pack*>(from)[i];
  } else {
#pragma unroll
    for (int i = 0; i < kCount; ++i) to[i] = from[i];
  }
}
template <int kCount>
__device__ void load_channels(const __nv_bfloat16* from, bool packed, float (&to)[kCount]) {
  using Pack =
      std::conditional_t<kCount == 2, uint32_t, std::conditional_t<kCount == 4, uint2, uint4>>;
  if (packed) {
    union {
      Pack pack;
      uint32_t words[kCount / 2];
    } loaded{.pack = *reinterpret_cast<const Pack*>(from)};
#pragma unroll
    for (int i = 0; i < kCount; ++i)
      to[i] =
          __uint_as_float(i % 2 ? loaded.words[i / 2] & 0xffff0000u : loaded.words[i / 2] << 16);
  } else {
#pragma unroll
    for (int i = 0; i < kCount; ++i) to[i] = __bfloat162float(from[i]);
  }
}

// Codes of kBits of kCount channels to `to`; `packed`: by one store.
template <int kBits, int kCount>
__device__ void store_codes(uint8_t* to, bool packed, const uint32_t (&codes)[kCount]) {
  constexpr int kBytes = kCount * kBits / 8, kWords = (kBytes + 3) / 4, kOfWord = 32 / kBits;
  union {
    std::conditional_t<
        kBytes <= 2, std::conditional_t<kBytes == 1, uint8_t, uint16_t>,
        std::conditional_t<kBytes == 4, uint32_t, std::conditional_t<kBytes == 8, uint2, uint4>>>
        pack;
    uint8_t bytes[kBytes];
    uint32_t words[kWords];
  } all;
#pragma unroll
  for (int i = 0; i < kWords; ++i) {
    all.words[i] = 0;
#pragma unroll
    for (int c = 0; c < kOfWord && c < kCount; ++c)
      all.words[i] |= codes[kOfWord * i + c] << kBits * c;
  }
  if (packed)
    *reinterpret_cast<decltype(all.pack)*>(to) = all.pack;
  else
#pragma unroll
    for (int i = 0; i < kBytes; ++i) to[i] = all.bytes[i];
}

// What a lane has of a head, lane l channels kChannels l, kChannels l + 1, ... as
// format/kv_encode.h's KvLanes; channels from head_dim on are zeros where they are loaded. Products
// whose sum follows are rounded first (__fmul_rn), so that the codes are those of the CPU.
template <int kTheChannels>
struct Head {
  static constexpr int kChannels = kTheChannels;
  float x[kChannels];
  int dim, lane;

  __device__ int first() const { return kChannels * lane; }
  __device__ bool inside() const { return first() < dim; }

  // Writes the head to shared memory, from where other lanes read it.
  __device__ void share(float* memory) {
    __syncwarp();
#pragma unroll
    for (int i = 0; i < kChannels; ++i) memory[first() + i] = x[i];
    __syncwarp();
  }

  __device__ void normalize(const float (&weight)[kChannels], float eps) {
    double sum = 0;
#pragma unroll
    for (int i = 0; i < kChannels; ++i) sum += double(x[i]) * double(x[i]);
    for (int offset = 16; offset > 0; offset /= 2) sum += __shfl_xor_sync(0xffffffff, sum, offset);
    const float inverse = float(1 / sqrt(sum / double(dim) + double(eps)));
#pragma unroll
    for (int i = 0; i < kChannels; ++i) x[i] = __fmul_rn(x[i] * inverse, weight[i]);
  }
  // `packed`: a lane's channels are of one half of the head.
  __device__ void turn(const float (&cos)[kChannels], const float (&sin)[kChannels], bool packed,
                       float* memory) {
    const int half = dim / 2;
    float other[kChannels];
    if (packed) {
      const int lanes = half / kChannels, from = lane < lanes ? lane + lanes : lane - lanes;
#pragma unroll
      for (int i = 0; i < kChannels; ++i) other[i] = __shfl_sync(0xffffffff, x[i], from);
    } else {
      share(memory);
#pragma unroll
      for (int i = 0; i < kChannels; ++i) {
        const int c = first() + i;
        other[i] = memory[c < half ? c + half : c - half];
      }
    }
#pragma unroll
    for (int i = 0; i < kChannels; ++i) {
      const float product = __fmul_rn(other[i], sin[i]);
      x[i] = fmaf(x[i], cos[i], first() + i < half ? -product : product);
    }
  }
  __device__ void subtract(const float (&mean)[kChannels]) {
#pragma unroll
    for (int i = 0; i < kChannels; ++i) x[i] = __fsub_rn(x[i], mean[i]);
  }
  __device__ void multiply(const float (&scale)[kChannels]) {
#pragma unroll
    for (int i = 0; i < kChannels; ++i) x[i] = __fmul_rn(x[i], scale[i]);
  }

  __device__ void transform(const HadamardOfHead& by, float* memory) {
    const int width = by.size / by.order;
    if (width > 1) add_registers<1>();
    if constexpr (kChannels > 2)
      if (width > 2) add_registers<2>();
    if constexpr (kChannels > 4)
      if (width > 4) add_registers<4>();
#pragma unroll
    for (int lanes = 1; lanes < 32; lanes *= 2) {
      if (kChannels * lanes >= width) break;
      const float sign = lane & lanes ? -1.0f : 1.0f;
#pragma unroll
      for (int i = 0; i < kChannels; ++i)
        x[i] = fmaf(sign, x[i], __shfl_xor_sync(0xffffffff, x[i], lanes));
    }
    if (by.order > 1) multiply_by_paley(by, width, memory);
#pragma unroll
    for (int i = 0; i < kChannels; ++i) x[i] = __fmul_rn(x[i], by.scale);
  }

  __device__ float absmax() const {
    float largest = 0;
#pragma unroll
    for (int i = 0; i < kChannels; ++i) largest = fmaxf(largest, fabsf(x[i]));
    return Max::join_lanes(largest);
  }
  __device__ KvExtent extent() const {
    float low = x[0], high = x[0];
#pragma unroll
    for (int i = 1; i < kChannels; ++i) low = fminf(low, x[i]), high = fmaxf(high, x[i]);
    if (!inside()) low = INFINITY, high = -INFINITY;
    return {from_ordered(__reduce_min_sync(0xffffffff, ordered(low))),
            from_ordered(__reduce_max_sync(0xffffffff, ordered(high)))};
  }

 private:
  // An integer in the order of numbers, and back.
  static __device__ int ordered(float value) {
    const int bits = __float_as_int(value);
    return bits < 0 ? bits ^ 0x7fffffff : bits;
  }
  static __device__ float from_ordered(int bits) {
    return __int_as_float(bits < 0 ? bits ^ 0x7fffffff : bits);
  }

  template <int kApart>
  __device__ void add_registers() {
#pragma unroll
    for (int i = 0; i < kChannels; ++i)
      if (!(i & kApart)) {
        const float a = x[i], b = x[i + kApart];
        x[i] = a + b, x[i + kApart] = a - b;
      }
  }
  __device__ void multiply_by_paley(const HadamardOfHead& by, int width, float* memory) {
    share(memory);
    if (!inside()) return;
#pragma unroll
    for (int i = 0; i < kChannels; ++i) {
      const int c = first() + i;
      const int begin = c / by.size * by.size, row = (c - begin) / width;
      const float* from = memory + begin + c % width;
      x[i] = from[0];
      for (int l = 1; l < by.order; ++l) {
        const int at = row + l - 2;
        const bool negative = row > 0 && by.negative[size_t(at / 32)] >> at % 32 & 1;
        x[i] = fmaf(negative ? -1.0f : 1.0f, from[l * width], x[i]);
      }
    }
  }
};

}  // namespace emberq::cuda
