#pragma once

#include <cstdint>

// mma.sync and movmatrix: one warp, all operands in registers. With lane = thread % 32, g = lane /
// 4 and t = lane % 4, d[2 h + i] is row g + 8 h and column 2 t + i.
namespace emberq::ptx {

// d[16, 8] += a[16, 16] b[8, 16]^T of BF16, in FP32. Register 2 q + h of a has row g + 8 h,
// register q of b column g, each at inputs 8 q + 2 t and 8 q + 2 t + 1.
__device__ inline void mma_bf16(float (&d)[4], const uint32_t* a, const uint32_t* b) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
      "{%8, %9}, {%0, %1, %2, %3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

// The same of FP16.
__device__ inline void mma_f16(float (&d)[4], const uint32_t* a, const uint32_t* b) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
      "{%8, %9}, {%0, %1, %2, %3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

// d[16, 8] += a[16, 32] b[8, 32]^T of e4m3, in FP32; registers as mma_s8(). Hopper converts to FP16
// and multiplies that.
__device__ inline void mma_e4m3(float (&d)[4], const uint32_t* a, const uint32_t* b) {
  asm("mma.sync.aligned.m16n8k32.row.col.f32.e4m3.e4m3.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
      "{%8, %9}, {%0, %1, %2, %3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

// d[16, 8] += a[16, 32] b[8, 32]^T of signed bytes, in INT32. Register 2 q + h of a has row g + 8
// h, register q of b column g, each at inputs 16 q + 4 t ... 16 q + 4 t + 3.
__device__ inline void mma_s8(int (&d)[4], const uint32_t* a, const uint32_t* b) {
  asm("mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
      "{%8, %9}, {%0, %1, %2, %3};"
      : "+r"(d[0]), "+r"(d[1]), "+r"(d[2]), "+r"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

// An 8 x 8 matrix of 16-bit elements, transposed: a lane has row g, columns 2 t and 2 t + 1, before
// and after.
__device__ inline uint32_t movmatrix_trans(uint32_t a) {
  uint32_t transposed;
  asm("movmatrix.sync.aligned.m8n8.trans.b16 %0, %1;" : "=r"(transposed) : "r"(a));
  return transposed;
}

}  // namespace emberq::ptx
