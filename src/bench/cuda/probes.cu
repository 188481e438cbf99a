// Kernels that only measure: one does nothing, one reads.
#include "bench/cuda/probes.h"
#include "ops/cuda/runtime/launch.cuh"

namespace emberq::bench {
namespace {

struct EmptyKernel {
  struct Args {};
  static constexpr int kThreads = 32;
  static constexpr int kMinBlocksPerSm = 1;
  static __device__ void run(const Args&) {}
};

// A CTA reads one unit, and each thread has eight vectors in flight. Four CTAs on a multiprocessor
// keep more bytes in flight than memory's latency times its rate.
struct ReadKernel {
  struct Args {
    const uint4* from;
    unsigned* sink;
  };
  static constexpr int kThreads = 256;
  static constexpr int kMinBlocksPerSm = 4;
  static constexpr int kVectors = 8;
  static_assert(kThreads * kVectors * sizeof(uint4) == kReadUnit);

  static __device__ void run(const Args& a) {
    const uint4* from = a.from + int64_t(blockIdx.x) * kThreads * kVectors + threadIdx.x;
    uint4 v[kVectors];
#pragma unroll
    for (int i = 0; i < kVectors; ++i) v[i] = from[i * kThreads];
    unsigned all = 0;
#pragma unroll
    for (int i = 0; i < kVectors; ++i) all |= v[i].x ^ v[i].y ^ v[i].z ^ v[i].w;
    if (all == 0) *a.sink = 1;  // almost never; otherwise the compiler would remove the reads
  }
};

}  // namespace

void run_empty(cudaStream_t stream) { cuda::launch<EmptyKernel>(dim3(1), stream, {}); }

void run_read(const void* from, size_t bytes, unsigned* sink, cudaStream_t stream) {
  cuda::launch<ReadKernel>(dim3(unsigned(bytes / kReadUnit)), stream,
                           {.from = static_cast<const uint4*>(from), .sink = sink});
}

}  // namespace emberq::bench
