#pragma once

#include <cuda.h>

#include <cstdint>

// Copies into shared memory that a barrier counts, as the PTX ISA names them (mbarrier,
// cp.async.bulk).
namespace emberq::device {

__device__ inline uint32_t shared_address(const void* pointer) {
  return uint32_t(__cvta_generic_to_shared(pointer));
}

__device__ inline uint4 load_shared_16(uint32_t address) {
  uint4 v;
  asm volatile("ld.shared.v4.u32 {%0, %1, %2, %3}, [%4];"
               : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
               : "r"(address)
               : "memory");
  return v;
}
__device__ inline void store_shared_16(uint32_t address, uint4 v) {
  asm volatile("st.shared.v4.u32 [%0], {%1, %2, %3, %4};" ::"r"(address), "r"(v.x), "r"(v.y),
               "r"(v.z), "r"(v.w)
               : "memory");
}
__device__ inline uint32_t load_shared_4(uint32_t address) {
  uint32_t v;
  asm volatile("ld.shared.u32 %0, [%1];" : "=r"(v) : "r"(address) : "memory");
  return v;
}
__device__ inline float2 load_shared_pair(uint32_t address) {
  float2 v;
  asm volatile("ld.shared.v2.f32 {%0, %1}, [%2];" : "=f"(v.x), "=f"(v.y) : "r"(address) : "memory");
  return v;
}
__device__ inline void store_shared_4(uint32_t address, float v) {
  asm volatile("st.shared.f32 [%0], %1;" ::"r"(address), "f"(v) : "memory");
}

// What all lanes of a warp have the same: the compiler knows it of what comes from one lane, and
// computes with it once for all, in the registers that wgmma takes its descriptors from.
__device__ inline int uniform(int value) { return __shfl_sync(~0u, value, 0); }

// Whether this is the one lane of its warp that is to do something.
__device__ inline bool elect() {
  uint32_t elected;
  asm volatile("{.reg .pred p; elect.sync _|p, 0xffffffff; selp.b32 %0, 1, 0, p;}" : "=r"(elected));
  return elected != 0;
}
// threadIdx.x, read anew: what is computed from it needs no registers before.
__device__ inline int thread_again() {
  int thread;
  asm volatile("mov.u32 %0, %%tid.x;" : "=r"(thread));
  return thread;
}

// A barrier in shared memory whose phases flip when all arrivals and all announced bytes are there;
// eight bytes, by their address.
struct Barrier {
  uint32_t address;

  __device__ void init(int arrivals) const {
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(address), "r"(arrivals));
  }
  __device__ void arrive() const {
    asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(address) : "memory");
  }
  // At the barrier in the same place of another block of the cluster.
  __device__ void arrive_at(int block) const {
    asm volatile(
        "{.reg .b32 there; mapa.shared::cluster.u32 there, %0, %1; "
        "mbarrier.arrive.shared::cluster.b64 _, [there];}" ::"r"(address),
        "r"(block)
        : "memory");
  }
  __device__ void arrive_and_expect(uint32_t bytes) const {
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(address), "r"(bytes)
                 : "memory");
  }
  // Until the phase of this parity is over. A new barrier is in phase 0; the one before has parity
  // 1 and is over.
  __device__ void wait(int parity) const {
    asm volatile(
        "{.reg .pred done; again: mbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1; "
        "@done bra over; bra again; over:}" ::"r"(address),
        "r"(parity)
        : "memory");
  }
};
// After init, before other threads or copies use the barriers; other blocks too, after they have
// synchronized.
__device__ inline void publish_barriers() {
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
  __syncthreads();
}

// Programmatic dependent launch: the next kernel's blocks may start where there is room; what
// kernels before this one wrote is there.
__device__ inline void launch_dependents() {
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
}
__device__ inline void wait_for_dependencies() {
  asm volatile("griddepcontrol.wait;" ::: "memory");
}

__device__ inline unsigned multiprocessors() {  // or a few more
  unsigned count;
  asm("mov.u32 %0, %%nsmid;" : "=r"(count));
  return count;
}
// `bytes` (a multiple of 16) from memory to the L2, for a load to come.
__device__ inline void prefetch_bulk(const void* from, uint32_t bytes) {
  asm volatile("cp.async.bulk.prefetch.L2.global [%0], %1;" ::"l"(from), "r"(bytes) : "memory");
}
// `bytes` (a multiple of 16) from global to shared memory.
__device__ inline void copy_bulk(uint32_t to, const void* from, uint32_t bytes, Barrier barrier,
                                 uint64_t cache_hint) {
  asm volatile(
      "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes.L2::cache_hint "
      "[%0], [%1], %2, [%3], %4;" ::"r"(to),
      "l"(from), "r"(bytes), "r"(barrier.address), "l"(cache_hint)
      : "memory");
}
// Four bytes from global to shared memory, or zero, by this thread, which waits for all of its own.
__device__ inline void copy_4_or_zero(uint32_t to, const void* from, bool copied) {
  asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(to), "l"(from),
               "r"(copied ? 4 : 0)
               : "memory");
}
__device__ inline void wait_for_small_copies() { asm volatile("cp.async.wait_all;" ::: "memory"); }
// The map's box at (column, row); what lies outside the tensor is zero, and counts.
__device__ inline void copy_box(uint32_t to, const CUtensorMap& map, int column, int row,
                                Barrier barrier, uint64_t cache_hint) {
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes.L2::cache_hint "
      "[%0], [%1, {%2, %3}], [%4], %5;" ::"r"(to),
      "l"(&map), "r"(column), "r"(row), "r"(barrier.address), "l"(cache_hint)
      : "memory");
}
// The same to that place in every block of the cluster, and to the barrier there.
__device__ inline void copy_box_to_all(uint32_t to, const CUtensorMap& map, int column, int row,
                                       Barrier barrier, uint64_t cache_hint, int blocks) {
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes"
      ".multicast::cluster.L2::cache_hint [%0], [%1, {%2, %3}], [%4], %5, %6;" ::"r"(to),
      "l"(&map), "r"(column), "r"(row), "r"(barrier.address), "h"(uint16_t((1 << blocks) - 1)),
      "l"(cache_hint)
      : "memory");
}
// The other way: from shared memory, where this thread and those that it has synchronized with have
// written, to the map's box, of which nothing is written outside the tensor. One of a thread's
// groups.
__device__ inline void copy_box_out(const CUtensorMap& map, int column, int row, uint32_t from) {
  asm volatile(
      "cp.async.bulk.tensor.2d.global.shared::cta.bulk_group [%0, {%1, %2}], [%3];\n"
      "cp.async.bulk.commit_group;" ::"l"(&map),
      "r"(column), "r"(row), "r"(from)
      : "memory");
}
// Before it, in every thread that has written.
__device__ inline void publish_to_copies() {
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}
// Until all but the latest kPending of this thread's groups have read their shared memory.
template <int kPending>
__device__ inline void wait_for_copies_out() {
  asm volatile("cp.async.bulk.wait_group.read %0;" ::"n"(kPending) : "memory");
}
__device__ inline void prefetch(const CUtensorMap& map) {
  asm volatile("prefetch.tensormap [%0];" ::"l"(&map) : "memory");
}
__device__ inline uint64_t evict_first() {
  uint64_t policy;
  asm volatile("createpolicy.fractional.L2::evict_first.b64 %0, 1.0;" : "=l"(policy));
  return policy;
}
__device__ inline uint64_t evict_last() {
  uint64_t policy;
  asm volatile("createpolicy.fractional.L2::evict_last.b64 %0, 1.0;" : "=l"(policy));
  return policy;
}

// Barrier 0 is __syncthreads().
__device__ inline void named_barrier(int barrier, int threads) {
  asm volatile("bar.sync %0, %1;" ::"r"(barrier), "r"(threads) : "memory");
}
// Of one of the consumers' warpgroups.
__device__ inline void warpgroup_barrier(int consumer) { named_barrier(consumer + 1, 128); }
// A warpgroup tells a warp something, and goes on.
__device__ inline void tell_warp(int barrier) {
  asm volatile("bar.arrive %0, 160;" ::"r"(barrier) : "memory");
}
__device__ inline void wait_for_warpgroup(int barrier) {
  asm volatile("bar.sync %0, 160;" ::"r"(barrier) : "memory");
}

// Between blocks of threads.
__device__ inline void store_release(int* to, int value) {
  asm volatile("st.release.gpu.global.s32 [%0], %1;" ::"l"(to), "r"(value) : "memory");
}
__device__ inline int load_acquire(const int* from) {
  int value;
  asm volatile("ld.acquire.gpu.global.s32 %0, [%1];" : "=r"(value) : "l"(from) : "memory");
  return value;
}

// Registers move from the producer's warpgroup to the consumers'.
template <int kRegisters>
__device__ inline void fewer_registers() {
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(kRegisters));
}
template <int kRegisters>
__device__ inline void more_registers() {
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(kRegisters));
}

}  // namespace emberq::device
