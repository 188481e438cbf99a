#pragma once

#include <cuda.h>

#include <cstdint>

#include "ops/cuda/ptx/mbarrier.cuh"

// Bulk copies by the Tensor Memory Accelerator: cp.async.bulk.
namespace emberq::ptx {

// Loads `bytes` (a multiple of 16) from global to shared memory, counted by `barrier`.
__device__ inline void tma_load_1d(uint32_t to, const void* from, uint32_t bytes, Mbarrier barrier,
                                   uint64_t cache_policy) {
  asm volatile(
      "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes.L2::cache_hint "
      "[%0], [%1], %2, [%3], %4;" ::"r"(to),
      "l"(from), "r"(bytes), "r"(barrier.address), "l"(cache_policy)
      : "memory");
}

// Loads the map's box at (column, row). Elements outside the tensor are zero, and are counted.
__device__ inline void tma_load_2d(uint32_t to, const CUtensorMap& map, int column, int row,
                                   Mbarrier barrier, uint64_t cache_policy) {
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes.L2::cache_hint "
      "[%0], [%1, {%2, %3}], [%4], %5;" ::"r"(to),
      "l"(&map), "r"(column), "r"(row), "r"(barrier.address), "l"(cache_policy)
      : "memory");
}
// Loads a box to the same address in every CTA of the cluster, each counted by the barrier there.
__device__ inline void tma_load_2d_multicast(uint32_t to, const CUtensorMap& map, int column,
                                             int row, Mbarrier barrier, uint64_t cache_policy,
                                             int ctas) {
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes"
      ".multicast::cluster.L2::cache_hint [%0], [%1, {%2, %3}], [%4], %5, %6;" ::"r"(to),
      "l"(&map), "r"(column), "r"(row), "r"(barrier.address), "h"(uint16_t((1 << ctas) - 1)),
      "l"(cache_policy)
      : "memory");
}

// Stores a box from shared memory, as one bulk group of this thread. Elements outside the tensor
// are not written. Every thread that has written the box calls fence_proxy_async(), then all
// synchronize with the thread that stores.
__device__ inline void tma_store_2d(const CUtensorMap& map, int column, int row, uint32_t from) {
  asm volatile(
      "cp.async.bulk.tensor.2d.global.shared::cta.bulk_group [%0, {%1, %2}], [%3];\n"
      "cp.async.bulk.commit_group;" ::"l"(&map),
      "r"(column), "r"(row), "r"(from)
      : "memory");
}
__device__ inline void fence_proxy_async() {
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}
// Waits until all bulk groups of this thread but the latest kPending have read shared memory.
template <int kPending>
__device__ inline void tma_store_wait() {
  asm volatile("cp.async.bulk.wait_group.read %0;" ::"n"(kPending) : "memory");
}

__device__ inline void prefetch_tensormap(const CUtensorMap& map) {
  asm volatile("prefetch.tensormap [%0];" ::"l"(&map) : "memory");
}
// Prefetches `bytes` (a multiple of 16) from memory into the L2.
__device__ inline void prefetch_l2(const void* from, uint32_t bytes) {
  asm volatile("cp.async.bulk.prefetch.L2.global [%0], %1;" ::"l"(from), "r"(bytes) : "memory");
}
__device__ inline uint64_t l2_evict_first() {
  uint64_t policy;
  asm volatile("createpolicy.fractional.L2::evict_first.b64 %0, 1.0;" : "=l"(policy));
  return policy;
}
__device__ inline uint64_t l2_evict_last() {
  uint64_t policy;
  asm volatile("createpolicy.fractional.L2::evict_last.b64 %0, 1.0;" : "=l"(policy));
  return policy;
}

}  // namespace emberq::ptx
