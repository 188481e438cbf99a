#pragma once

#include <cstdint>

// wgmma of e4m3 with operand A in registers: d[64, N] += a[64, 32] b[N, 32]^T, by one warpgroup.
// PTX names each register of d, so every N has its own text.
namespace emberq::ptx {

// Orders earlier writes to the registers of A and d before wgmma. Needed before the first wgmma of
// a kernel, and after other instructions have written these registers.
__device__ inline void wgmma_fence() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
__device__ inline void wgmma_commit() {
  asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}
// Waits until at most kPending groups are still running.
template <int kPending>
__device__ inline void wgmma_wait() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(kPending) : "memory");
}
// Keeps the compiler from moving writes or reads of these registers across this point.
template <int kCount>
__device__ inline void warpgroup_fence_operand(uint32_t* registers) {
#pragma unroll
  for (int i = 0; i < kCount; ++i) asm volatile("" : "+r"(registers[i])::"memory");
}

// The matrix descriptor of operand B, K-major in the 128-byte swizzle of TMA. Row i, 128 bytes, is
// at 128 i. The address is a multiple of 1024. Adding 2 advances 32 bytes within the rows; adding
// 64 advances 1024 bytes, to the next eight rows.
__device__ inline uint64_t make_smem_desc_128B(uint32_t shared_address) {
  constexpr uint64_t kSwizzle128 = uint64_t(1) << 62, kEightRows = uint64_t(1024 >> 4) << 32;
  return kSwizzle128 | kEightRows | uint64_t(1) << 16 | uint64_t((shared_address & 0x3ffff) >> 4);
}

// Four and sixteen registers of d, for the operand lists below.
#define EMBERQ_D4(i) "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3])
#define EMBERQ_D16(i) EMBERQ_D4(i), EMBERQ_D4(i + 4), EMBERQ_D4(i + 8), EMBERQ_D4(i + 12)

// d = a b^T, or d += a b^T if `add`.
template <int kN>
struct WgmmaE4m3;

template <>
struct WgmmaE4m3<16> {
  static __device__ void run(float (&d)[8], const uint32_t* a, uint64_t b, bool add) {
    asm volatile(
        "{.reg .pred add; setp.ne.b32 add, %13, 0; "
        "wgmma.mma_async.sync.aligned.m64n16k32.f32.e4m3.e4m3 {"
        "%0, %1, %2, %3, %4, %5, %6, %7}, "
        "{%8, %9, %10, %11}, %12, add, 1, 1;}"
        : EMBERQ_D4(0), EMBERQ_D4(4)
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(int(add)));
  }
};

template <>
struct WgmmaE4m3<32> {
  static __device__ void run(float (&d)[16], const uint32_t* a, uint64_t b, bool add) {
    asm volatile(
        "{.reg .pred add; setp.ne.b32 add, %21, 0; "
        "wgmma.mma_async.sync.aligned.m64n32k32.f32.e4m3.e4m3 {"
        "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15}, "
        "{%16, %17, %18, %19}, %20, add, 1, 1;}"
        : EMBERQ_D16(0)
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(int(add)));
  }
};

template <>
struct WgmmaE4m3<64> {
  static __device__ void run(float (&d)[32], const uint32_t* a, uint64_t b, bool add) {
    asm volatile(
        "{.reg .pred add; setp.ne.b32 add, %37, 0; "
        "wgmma.mma_async.sync.aligned.m64n64k32.f32.e4m3.e4m3 {"
        "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
        "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31}, "
        "{%32, %33, %34, %35}, %36, add, 1, 1;}"
        : EMBERQ_D16(0), EMBERQ_D16(16)
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(int(add)));
  }
};

template <>
struct WgmmaE4m3<128> {
  static __device__ void run(float (&d)[64], const uint32_t* a, uint64_t b, bool add) {
    asm volatile(
        "{.reg .pred add; setp.ne.b32 add, %69, 0; "
        "wgmma.mma_async.sync.aligned.m64n128k32.f32.e4m3.e4m3 {"
        "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
        "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, "
        "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, "
        "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63}, "
        "{%64, %65, %66, %67}, %68, add, 1, 1;}"
        : EMBERQ_D16(0), EMBERQ_D16(16), EMBERQ_D16(32), EMBERQ_D16(48)
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(int(add)));
  }
};

#undef EMBERQ_D4
#undef EMBERQ_D16

}  // namespace emberq::ptx
