#pragma once

#include <cuda_bf16.h>
#include <cuda_fp8.h>

#include <cstdint>

#include "format/bf16.h"
#include "ops/cuda/device/row_quotient.cuh"

// Eight neighbouring elements, which a thread loads and stores at once.
namespace emberq::device {

union alignas(16) Bf16x8 {  // the widest load
  uint4 raw;
  uint32_t pair[4];
  bf16 e[8];
};
union alignas(16) Float8 {
  float4 raw[2];
  float e[8];
};
union alignas(8) Fp8x8 {  // e4m3
  uint2 raw;
  __nv_fp8x2_storage_t pair[4];
};

// By pairs, since an odd element is then one instruction away instead of two.
__device__ inline Float8 to_float(const Bf16x8& x) {
  Float8 result;
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    result.e[2 * i] = __uint_as_float(x.pair[i] << 16);
    result.e[2 * i + 1] = __uint_as_float(x.pair[i] & 0xffff0000);
  }
  return result;
}

__device__ inline Bf16x8 to_bf16(const Float8& x) {
  Bf16x8 result;
#pragma unroll
  for (int i = 0; i < 8; i += 2) {
    const __nv_bfloat162_raw pair = __floats2bfloat162_rn(x.e[i], x.e[i + 1]);
    result.e[i] = {pair.x}, result.e[i + 1] = {pair.y};
  }
  return result;
}

// a + b, rounded once: where the sum in float is rounded too, it is nowhere near a boundary between
// two BF16.
__device__ inline Bf16x8 sum(const Bf16x8& a, const Bf16x8& b) {
  Float8 result = to_float(a);
  const Float8 added = to_float(b);
#pragma unroll
  for (int i = 0; i < 8; ++i) result.e[i] += added.e[i];
  return to_bf16(result);
}

// Codes of x by its row's scale. The hardware's conversion is fp8_encode: tests/format holds it to
// the toolkit's, which is this instruction.
__device__ inline Fp8x8 to_fp8(const Float8& x, const RowQuotient& quotient) {
  Fp8x8 result;
#pragma unroll
  for (int i = 0; i < 8; i += 2)
    result.pair[i / 2] = __nv_cvt_float2_to_fp8x2({quotient(x.e[i]), quotient(x.e[i + 1])},
                                                  __NV_SATFINITE, __NV_E4M3);
  return result;
}

}  // namespace emberq::device
