#pragma once

#include <cstdint>

// cp.async: copies from global to shared memory by each thread, in groups.
namespace emberq::ptx {

// Copies kBytes, 8 or 16, to a multiple of kBytes, or writes zeros there if `copied` is false.
template <int kBytes>
__device__ inline void cp_async_zfill(uint32_t to, const void* from, bool copied) {
  if constexpr (kBytes == 16)
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(from),
                 "r"(copied ? 16 : 0)
                 : "memory");
  else
    asm volatile("cp.async.ca.shared.global [%0], [%1], 8, %2;" ::"r"(to), "l"(from),
                 "r"(copied ? 8 : 0)
                 : "memory");
}
__device__ inline void cp_async_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }
// Waits until all groups of this thread but the latest kPending have arrived.
template <int kPending>
__device__ inline void cp_async_wait_group() {
  asm volatile("cp.async.wait_group %0;" ::"n"(kPending) : "memory");
}

}  // namespace emberq::ptx
