#pragma once

#include <cstdint>

#include "ops/cuda/ptx/wgmma.cuh"

// wgmma of FP16, BF16 and e4m3 as attention needs them: both operands in shared memory, or A in
// registers and B transposed.
namespace emberq::ptx {

// The matrix descriptor of a transposed operand B of 16-bit elements, N-major in the 128-byte
// swizzle: panels of 64 columns, `panel_bytes` apart, in which row k, 128 bytes, is at 128 k.
// Adding 128 advances to the next sixteen rows.
__device__ inline uint64_t make_smem_desc_transposed(uint32_t shared_address, int panel_bytes) {
  constexpr uint64_t kSwizzle128 = uint64_t(1) << 62, kEightRows = uint64_t(1024 >> 4) << 32;
  return kSwizzle128 | kEightRows | uint64_t(panel_bytes >> 4) << 16 |
         uint64_t((shared_address & 0x3ffff) >> 4);
}

// Keeps the compiler from moving writes or reads of sums across this point.
template <int kCount>
__device__ inline void warpgroup_fence_sums(float (&d)[kCount]) {
#pragma unroll
  for (int i = 0; i < kCount; ++i) asm volatile("" : "+f"(d[i])::"memory");
}

#define EMBERQ_D4(i) "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3])
#define EMBERQ_D16(i) EMBERQ_D4(i), EMBERQ_D4(i + 4), EMBERQ_D4(i + 8), EMBERQ_D4(i + 12)
#define EMBERQ_D32 EMBERQ_D16(0), EMBERQ_D16(16)
#define EMBERQ_D64 EMBERQ_D32, EMBERQ_D16(32), EMBERQ_D16(48)
#define EMBERQ_TEXT32                                                                \
  "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, " \
  "%18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31"
#define EMBERQ_TEXT64                                                                       \
  EMBERQ_TEXT32                                                                             \
  ", %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, %48, " \
  "%49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"

// d[64, N] = a[64, K] b[N, K]^T, or d += it if `add`; K is 32 bytes. A is K-major too.
#define EMBERQ_FROM_SHARED(NAME, SHAPE, TYPES, D, TEXT, A, B, ADD, FLAGS)                      \
  struct NAME {                                                                                \
    template <int kCount>                                                                      \
    static __device__ void run(float (&d)[kCount], uint64_t a, uint64_t b, bool add) {         \
      asm volatile("{.reg .pred add; setp.ne.b32 add, %" ADD                                   \
                   ", 0; wgmma.mma_async.sync.aligned." SHAPE ".f32." TYPES " {" TEXT "}, %" A \
                   ", %" B ", add, " FLAGS ";}"                                                \
                   : D                                                                         \
                   : "l"(a), "l"(b), "r"(int(add)));                                           \
    }                                                                                          \
  };
// d[64, N] += a[64, K] b[K, N].
#define EMBERQ_FROM_REGISTERS(NAME, SHAPE, TYPES, D, TEXT, A0, A1, A2, A3, B)                    \
  struct NAME {                                                                                  \
    template <int kCount>                                                                        \
    static __device__ void run(float (&d)[kCount], const uint32_t* a, uint64_t b) {              \
      asm volatile("{.reg .pred add; setp.eq.b32 add, 0, 0; wgmma.mma_async.sync.aligned." SHAPE \
                   ".f32." TYPES " {" TEXT "}, {%" A0 ", %" A1 ", %" A2 ", %" A3 "}, %" B        \
                   ", add, 1, 1, 1;}"                                                            \
                   : D                                                                           \
                   : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b));                        \
    }                                                                                            \
  };
#define EMBERQ_SHARED64(NAME, SHAPE, TYPES, FLAGS) \
  EMBERQ_FROM_SHARED(NAME, SHAPE, TYPES, EMBERQ_D32, EMBERQ_TEXT32, "32", "33", "34", FLAGS)
#define EMBERQ_SHARED128(NAME, SHAPE, TYPES, FLAGS) \
  EMBERQ_FROM_SHARED(NAME, SHAPE, TYPES, EMBERQ_D64, EMBERQ_TEXT64, "64", "65", "66", FLAGS)
#define EMBERQ_REGISTERS64(NAME, SHAPE, TYPES) \
  EMBERQ_FROM_REGISTERS(NAME, SHAPE, TYPES, EMBERQ_D32, EMBERQ_TEXT32, "32", "33", "34", "35", "36")
#define EMBERQ_REGISTERS128(NAME, SHAPE, TYPES) \
  EMBERQ_FROM_REGISTERS(NAME, SHAPE, TYPES, EMBERQ_D64, EMBERQ_TEXT64, "64", "65", "66", "67", "68")

template <int kN>
struct WgmmaF16Shared;
template <>
EMBERQ_SHARED64(WgmmaF16Shared<64>, "m64n64k16", "f16.f16", "1, 1, 0, 0")
template <>
EMBERQ_SHARED128(WgmmaF16Shared<128>, "m64n128k16", "f16.f16", "1, 1, 0, 0")

template <int kN>
struct WgmmaBf16Shared;
template <>
EMBERQ_SHARED64(WgmmaBf16Shared<64>, "m64n64k16", "bf16.bf16", "1, 1, 0, 0")
template <>
EMBERQ_SHARED128(WgmmaBf16Shared<128>, "m64n128k16", "bf16.bf16", "1, 1, 0, 0")

template <int kN>
struct WgmmaF16Transposed;
template <>
EMBERQ_REGISTERS64(WgmmaF16Transposed<64>, "m64n64k16", "f16.f16")
template <>
EMBERQ_REGISTERS128(WgmmaF16Transposed<128>, "m64n128k16", "f16.f16")

template <int kN>
struct WgmmaBf16Transposed;
template <>
EMBERQ_REGISTERS64(WgmmaBf16Transposed<64>, "m64n64k16", "bf16.bf16")
template <>
EMBERQ_REGISTERS128(WgmmaBf16Transposed<128>, "m64n128k16", "bf16.bf16")

template <int kN>
struct WgmmaE4m3Shared;
template <>
EMBERQ_SHARED128(WgmmaE4m3Shared<128>, "m64n128k32", "e4m3.e4m3", "1, 1")

#undef EMBERQ_D4
#undef EMBERQ_D16
#undef EMBERQ_D32
#undef EMBERQ_D64
#undef EMBERQ_TEXT32
#undef EMBERQ_TEXT64
#undef EMBERQ_FROM_SHARED
#undef EMBERQ_FROM_REGISTERS
#undef EMBERQ_SHARED64
#undef EMBERQ_SHARED128
#undef EMBERQ_REGISTERS64
#undef EMBERQ_REGISTERS128

}  // namespace emberq::ptx
