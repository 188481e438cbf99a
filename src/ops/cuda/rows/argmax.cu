#include "ops/cuda/ptx/cluster.cuh"
#include "ops/cuda/ptx/sync.cuh"
#include "ops/cuda/rows/ordered.cuh"
#include "ops/cuda/rows/rows.h"
#include "ops/cuda/runtime/launch.cuh"

namespace emberq::cuda {
namespace {

// A cluster for each row.
struct ArgmaxKernel {
  struct Args {
    const float* logits;  // [rows, columns]
    int32_t* ids;         // [rows]
    int columns;
  };
  static constexpr int kThreads = 512;
  static constexpr int kMinBlocksPerSm = 4;
  static constexpr int kCluster = 8;
  static constexpr bool kUsesPdl = true;

  static __device__ void run(const Args& a) {
    constexpr int kWarps = kThreads / 32;
    __shared__ uint64_t keys[kCluster][kWarps];
    ptx::cluster_arrive();
    ptx::griddepcontrol_launch_dependents();
    ptx::griddepcontrol_wait();
    const int part = int(blockIdx.y), warp = int(threadIdx.x) / 32, lane = int(threadIdx.x) % 32;
    const float* row = a.logits + int64_t(blockIdx.x) * a.columns;
    uint64_t largest = 0;
#pragma unroll 8
    for (int c = part * kThreads + int(threadIdx.x); c < a.columns; c += kCluster * kThreads)
      largest = max(largest, ordered(row[c], c));
    largest = largest_of_lanes(largest);
    ptx::cluster_wait();  // until the first CTA has started
    if (lane == 0)
      ptx::st_shared_cluster_u64(ptx::map_shared_address(&keys[part][warp], 0), largest);
    ptx::cluster_sync();
    if (part != 0 || warp != 0) return;
    for (int i = lane; i < kCluster * kWarps; i += 32)
      largest = max(largest, keys[i / kWarps][i % kWarps]);
    largest = largest_of_lanes(largest);
    if (lane == 0)
      a.ids[blockIdx.x] = largest >> 32 == 0xffffffffu ? -1 : ~int32_t(uint32_t(largest));
  }
};

}  // namespace

void argmax(const Argmax& op, cudaStream_t stream) {
  if (op.logits.rows == 0) return;
  launch<ArgmaxKernel>(dim3(unsigned(op.logits.rows), ArgmaxKernel::kCluster), stream,
                       {.logits = static_cast<const float*>(op.logits.data),
                        .ids = op.ids,
                        .columns = int(op.logits.dim)});
}

}  // namespace emberq::cuda
