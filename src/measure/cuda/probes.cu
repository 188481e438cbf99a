// Kernels that only measure: one that does nothing, and one that reads.
#include "measure/cuda/probes.h"
#include "ops/cuda/runtime/launch.cuh"

namespace emberq::cuda {
namespace {

struct EmptyKernel {
  struct Args {};
  static constexpr int kThreads = 32;
  static constexpr int kMinBlocksPerSm = 1;
  static __device__ void run(const Args&) {}
};

// A block of threads reads one unit, each thread eight vectors that are in flight together; four
// such blocks on a multiprocessor keep more than memory's latency times its rate on the way.
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
    if (all == 0) *a.sink = 1;  // hardly ever; without it there is nothing to read for
  }
};

}  // namespace

void run_empty(cudaStream_t stream) { launch<EmptyKernel>(dim3(1), stream, {}); }

void run_read(const void* from, size_t bytes, unsigned* sink, cudaStream_t stream) {
  launch<ReadKernel>(dim3(unsigned(bytes / kReadUnit)), stream,
                     {.from = static_cast<const uint4*>(from), .sink = sink});
}

}  // namespace emberq::cuda
