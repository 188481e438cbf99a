#pragma once

#include "ops/cuda/ptx/pipeline.cuh"

// Blocks of threads that run at once and reach each other's shared memory, as the PTX ISA names it
// (barrier.cluster, mapa).
namespace emberq::device {

// All threads of all blocks arrive, then wait; between the two they need not stand still.
__device__ inline void cluster_arrive() {
  asm volatile("barrier.cluster.arrive.release;" ::: "memory");
}
__device__ inline void cluster_wait() {
  asm volatile("barrier.cluster.wait.acquire;" ::: "memory");
}

// The place of `pointer`, in shared memory, in another block of the cluster.
__device__ inline uint32_t shared_address_in(const void* pointer, uint32_t block) {
  uint32_t address;
  asm("mapa.shared::cluster.u32 %0, %1, %2;"
      : "=r"(address)
      : "r"(shared_address(pointer)), "r"(block));
  return address;
}
__device__ inline uint32_t block_in_cluster() {
  uint32_t rank;
  asm("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
  return rank;
}

// The values of a cluster's kBlocks blocks joined, in every thread; `value` is the same in all
// threads of a block. Once in a kernel, which has begun with cluster_arrive(): shared memory can be
// written when its block has started.
template <class Operation, int kBlocks>
__device__ float cluster_reduce(float value) {
  __shared__ float values[kBlocks];
  cluster_wait();
  if (threadIdx.x < kBlocks)
    asm volatile("st.shared::cluster.f32 [%0], %1;" ::"r"(
                     shared_address_in(&values[block_in_cluster()], threadIdx.x)),
                 "f"(value)
                 : "memory");
  cluster_arrive();
  cluster_wait();
  float result = values[0];
#pragma unroll
  for (int block = 1; block < kBlocks; ++block) result = Operation::join(result, values[block]);
  return result;
}

}  // namespace emberq::device
