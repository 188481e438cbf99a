#pragma once

#include <cstdint>

// Products of a warp, and what moves their operands between its lanes: mma.sync, movmatrix.
namespace emberq::ptx {

// d += a b with a [16, 16] and b [16, 8] of FP16, d [16, 8] of FP32. With lane = 4 g + t, a lane
// has
//
//   a[0] rows g, columns 2 t and 2 t + 1     a[2] the same rows, columns 8 further
//   a[1] rows g + 8                          a[3]
//   b[0] rows 2 t and 2 t + 1 of column g    b[1] rows 8 further
//   d[0] d[1] row g, columns 2 t, 2 t + 1    d[2] d[3] row g + 8
__device__ inline void mma_16x8x16_f16(float (&d)[4], const uint32_t (&a)[4], uint32_t b0,
                                       uint32_t b1) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
      "{%8, %9}, {%0, %1, %2, %3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
// The same of BF16.
__device__ inline void mma_16x8x16_bf16(float (&d)[4], const uint32_t (&a)[4], uint32_t b0,
                                        uint32_t b1) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
      "{%8, %9}, {%0, %1, %2, %3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

// An 8 x 8 matrix of 16-bit elements, transposed: a lane has row g, columns 2 t and 2 t + 1, before
// and after.
__device__ inline uint32_t movmatrix_trans(uint32_t a) {
  uint32_t transposed;
  asm volatile("movmatrix.sync.aligned.m8n8.trans.b16 %0, %1;" : "=r"(transposed) : "r"(a));
  return transposed;
}

__device__ inline float exp2_approx(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

}  // namespace emberq::ptx
