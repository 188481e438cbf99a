#pragma once

#include <cuda_bf16.h>
#include <cuda_fp8.h>

#include <cstdint>

#include "format/bf16.h"
#include "format/scale.h"

// Vectors of eight neighbouring elements, which a thread loads or stores with one instruction.
namespace emberq::cuda {

union alignas(16) Bf16x8 {  // the widest load
  uint4 raw;
  uint32_t pair[4];
  bf16 e[8];
};
union alignas(16) Float8 {
  float4 raw[2];
  float e[8];
};
struct alignas(8) Fp8x8 {  // e4m3
  uint2 raw;
};
struct alignas(8) I8x8 {
  uint2 raw;
};
// Vectors of four elements.
union alignas(16) Float4 {
  float4 raw;
  float e[4];
};
struct alignas(8) Bf16x4 {
  uint2 raw;
};
struct alignas(4) Fp8x4 {
  uint32_t raw;
};
struct alignas(4) I8x4 {
  uint32_t raw;
};

// Works on pairs: an odd element then takes one instruction instead of two.
__device__ inline Float8 to_float(const Bf16x8& x) {
  Float8 result;
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    result.e[2 * i] = __uint_as_float(x.pair[i] << 16);
    result.e[2 * i + 1] = __uint_as_float(x.pair[i] & 0xffff0000);
  }
  return result;
}

__device__ inline const Float8& to_float(const Float8& x) { return x; }
__device__ inline const Float4& to_float(const Float4& x) { return x; }

__device__ inline uint32_t to_bf16_pair(float first, float second) {
  const __nv_bfloat162_raw pair = __floats2bfloat162_rn(first, second);
  return pair.x | uint32_t(pair.y) << 16;
}
__device__ inline Bf16x4 to_bf16(const Float4& x) {
  return {{to_bf16_pair(x.e[0], x.e[1]), to_bf16_pair(x.e[2], x.e[3])}};
}
__device__ inline Bf16x8 to_bf16(const Float8& x) {
  Bf16x8 result;
#pragma unroll
  for (int i = 0; i < 4; ++i) result.pair[i] = to_bf16_pair(x.e[2 * i], x.e[2 * i + 1]);
  return result;
}

// a + b, rounded once. If the sum in float is inexact, it is far from a rounding boundary of BF16.
__device__ inline Bf16x8 add(const Bf16x8& a, const Bf16x8& b) {
  Float8 result = to_float(a);
  const Float8 added = to_float(b);
#pragma unroll
  for (int i = 0; i < 8; ++i) result.e[i] += added.e[i];
  return to_bf16(result);
}

// e4m3 codes of quotient(x). The hardware's conversion equals fp8_encode(): tests/format compares
// that with the toolkit's function, which is this instruction. The codes are joined as integers. A
// union would go through memory.
template <class Quotient>
__device__ uint32_t to_fp8_quad(const float* x, const Quotient& quotient) {
  const auto pair = [&](int i) {
    return uint32_t(
        __nv_cvt_float2_to_fp8x2({quotient(x[i]), quotient(x[i + 1])}, __NV_SATFINITE, __NV_E4M3));
  };
  return pair(0) | pair(2) << 16;
}
template <class Quotient>
__device__ Fp8x4 to_fp8(const Float4& x, const Quotient& quotient) {
  return {to_fp8_quad(x.e, quotient)};
}
template <class Quotient>
__device__ Fp8x8 to_fp8(const Float8& x, const Quotient& quotient) {
  return {{to_fp8_quad(x.e, quotient), to_fp8_quad(x.e + 4, quotient)}};
}

// The scale of a row of integers.
struct IntegerScale {
  float scale;
  int code_max;
};
__device__ inline uint32_t to_s8_quad(const float* x, const IntegerScale& s) {
  uint32_t codes = 0;
#pragma unroll
  for (int i = 0; i < 4; ++i)
    codes |= uint32_t(uint8_t(int_quantize(x[i], s.scale, s.code_max))) << 8 * i;
  return codes;
}
__device__ inline I8x4 to_s8(const Float4& x, const IntegerScale& s) {
  return {to_s8_quad(x.e, s)};
}
__device__ inline I8x8 to_s8(const Float8& x, const IntegerScale& s) {
  return {{to_s8_quad(x.e, s), to_s8_quad(x.e + 4, s)}};
}

}  // namespace emberq::cuda
