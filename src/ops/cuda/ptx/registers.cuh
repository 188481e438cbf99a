#pragma once

#include <cstdint>

// Register allocation, special registers, and what helps the compiler to place values.
namespace emberq::ptx {

// Gives registers of the calling warpgroup back, or takes some of those that others gave back.
template <int kRegisters>
__device__ inline void setmaxnreg_dec() {
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(kRegisters));
}
template <int kRegisters>
__device__ inline void setmaxnreg_inc() {
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(kRegisters));
}

// Tells the compiler that `value` is the same in all lanes of the warp. The value, and what is
// computed from it, then lives in uniform registers, from which wgmma takes its descriptors.
__device__ inline int warp_uniform(int value) { return __shfl_sync(~0u, value, 0); }

// True in one lane of the warp.
__device__ inline bool elect_one() {
  uint32_t elected;
  asm volatile("{.reg .pred p; elect.sync _|p, 0xffffffff; selp.b32 %0, 1, 0, p;}" : "=r"(elected));
  return elected != 0;
}

// threadIdx.x, read from the special register again, so that no register is held for it until here.
__device__ inline int reload_thread_index() {
  int thread;
  asm volatile("mov.u32 %0, %%tid.x;" : "=r"(thread));
  return thread;
}
// The same for blockIdx.x.
__device__ inline int reload_block_index() {
  int block;
  asm volatile("mov.u32 %0, %%ctaid.x;" : "=r"(block));
  return block;
}

// The number of multiprocessors, or a few more: identifiers need not be contiguous.
__device__ inline unsigned multiprocessors() {
  unsigned count;
  asm("mov.u32 %0, %%nsmid;" : "=r"(count));
  return count;
}

}  // namespace emberq::ptx
