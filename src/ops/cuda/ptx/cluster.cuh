#pragma once

#include "ops/cuda/ptx/shared_memory.cuh"

// Thread-block clusters: CTAs that run at the same time and can reach each other's shared memory.
namespace emberq::ptx {

// All threads of all CTAs of the cluster arrive, then wait. They may do other work in between.
__device__ inline void cluster_arrive() {
  asm volatile("barrier.cluster.arrive.release;" ::: "memory");
}
__device__ inline void cluster_wait() {
  asm volatile("barrier.cluster.wait.acquire;" ::: "memory");
}
__device__ inline void cluster_sync() {
  cluster_arrive();
  cluster_wait();
}

__device__ inline uint32_t cluster_cta_rank() {
  uint32_t rank;
  asm("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
  return rank;
}
// The address of `pointer`, in shared memory, in CTA `rank` of the cluster.
__device__ inline uint32_t map_shared_address(const void* pointer, uint32_t rank) {
  uint32_t address;
  asm("mapa.shared::cluster.u32 %0, %1, %2;"
      : "=r"(address)
      : "r"(shared_address(pointer)), "r"(rank));
  return address;
}
__device__ inline void st_shared_cluster_f32(uint32_t address, float v) {
  asm volatile("st.shared::cluster.f32 [%0], %1;" ::"r"(address), "f"(v) : "memory");
}
__device__ inline void st_shared_cluster_u64(uint32_t address, uint64_t v) {
  asm volatile("st.shared::cluster.u64 [%0], %1;" ::"r"(address), "l"(v) : "memory");
}
__device__ inline uint32_t ld_shared_cluster_u32(uint32_t address) {
  uint32_t v;
  asm volatile("ld.shared::cluster.u32 %0, [%1];" : "=r"(v) : "r"(address) : "memory");
  return v;
}
__device__ inline uint64_t ld_shared_cluster_u64(uint32_t address) {
  uint64_t v;
  asm volatile("ld.shared::cluster.u64 %0, [%1];" : "=l"(v) : "r"(address) : "memory");
  return v;
}

}  // namespace emberq::ptx
