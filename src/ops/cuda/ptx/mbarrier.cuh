#pragma once

#include <cstdint>

namespace emberq::ptx {

// An mbarrier: eight bytes of shared memory, given by their address. A phase is over when all
// arrivals and all announced bytes are there.
struct Mbarrier {
  uint32_t address;

  __device__ void init(int arrivals) const {
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(address), "r"(arrivals));
  }
  __device__ void arrive() const {
    asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(address) : "memory");
  }
  // Arrives at the barrier with the same address in CTA `cta` of the cluster.
  __device__ void arrive_remote(int cta) const {
    asm volatile(
        "{.reg .b32 there; mapa.shared::cluster.u32 there, %0, %1; "
        "mbarrier.arrive.shared::cluster.b64 _, [there];}" ::"r"(address),
        "r"(cta)
        : "memory");
  }
  __device__ void arrive_expect_tx(uint32_t bytes) const {
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(address), "r"(bytes)
                 : "memory");
  }
  // Waits until the phase of this parity is over. A new barrier is in phase 0. Its phase of parity
  // 1 counts as over.
  __device__ void wait(int parity) const {
    asm volatile(
        "{.reg .pred done; again: mbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1; "
        "@done bra over; bra again; over:}" ::"r"(address),
        "r"(parity)
        : "memory");
  }
};

// Makes initialized barriers visible to the CTA and to TMA. Other CTAs of the cluster see them
// after a cluster barrier.
__device__ inline void fence_mbarrier_init() {
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
  __syncthreads();
}

}  // namespace emberq::ptx
