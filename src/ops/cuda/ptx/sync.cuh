#pragma once

// Barriers and flags between warps, between CTAs and between kernels.
namespace emberq::ptx {

// Named barriers of a CTA. Barrier 0 is __syncthreads(). `threads` counts those that wait and those
// that only arrive.
__device__ inline void named_barrier_sync(int barrier, int threads) {
  asm volatile("bar.sync %0, %1;" ::"r"(barrier), "r"(threads) : "memory");
}
__device__ inline void named_barrier_arrive(int barrier, int threads) {
  asm volatile("bar.arrive %0, %1;" ::"r"(barrier), "r"(threads) : "memory");
}

// Flags in global memory between CTAs.
__device__ inline void store_release(int* to, int value) {
  asm volatile("st.release.gpu.global.s32 [%0], %1;" ::"l"(to), "r"(value) : "memory");
}
__device__ inline int load_acquire(const int* from) {
  int value;
  asm volatile("ld.acquire.gpu.global.s32 %0, [%1];" : "=r"(value) : "l"(from) : "memory");
  return value;
}

__device__ inline int atomic_add_acq_rel(int* to, int value) {
  int before;
  asm volatile("atom.add.acq_rel.gpu.global.s32 %0, [%1], %2;"
               : "=r"(before)
               : "l"(to), "r"(value)
               : "memory");
  return before;
}

// Programmatic dependent launch (PDL). The first lets CTAs of the next kernel start where there is
// room. The second waits until the kernels before this one have ended and their writes are visible.
//
// A kernel releases its dependents as early as it can, so several kernels before one may still run.
// (Linears that run together do otherwise: linear/start_order.cuh.)
// Before it waits it therefore reads only what was there before the step: weights, the Batch, which
// copies bring to the device when all earlier kernels have ended, and keys and values of earlier
// steps.
__device__ inline void griddepcontrol_launch_dependents() {
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
}
__device__ inline void griddepcontrol_wait() { asm volatile("griddepcontrol.wait;" ::: "memory"); }

}  // namespace emberq::ptx
