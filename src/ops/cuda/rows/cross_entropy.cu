#include "ops/cuda/rows/reduce.cuh"
#include "ops/cuda/rows/rows.h"
#include "ops/cuda/runtime/launch.cuh"

namespace emberq::cuda {
namespace {

// A CTA for each row of logits, which it reads twice; the second time from the L2 cache.
struct CrossEntropyKernel {
  struct Args {
    const float* logits;     // [rows, columns]
    const int32_t* targets;  // [rows]
    float* nll;              // [rows]
    int columns;
  };
  static constexpr int kThreads = 512;
  static constexpr int kMinBlocksPerSm = 2;

  static __device__ void run(const Args& a) {
    __shared__ double sums[kThreads / 32];
    __shared__ float maxima[kThreads / 32];
    const int warp = int(threadIdx.x) / 32, lane = int(threadIdx.x) % 32;
    const float* row = a.logits + int64_t(blockIdx.x) * a.columns;
    float largest = -INFINITY;
    for (int c = int(threadIdx.x); c < a.columns; c += kThreads) largest = fmaxf(largest, row[c]);
    for (int offset = 16; offset > 0; offset /= 2)
      largest = fmaxf(largest, __shfl_xor_sync(0xffffffff, largest, offset));
    if (lane == 0) maxima[warp] = largest;
    __syncthreads();
    for (const float other : maxima) largest = fmaxf(largest, other);

    // Float exponentials, double sums: a vocabulary has more terms than a float sum should.
    double sum = 0;
    for (int c = int(threadIdx.x); c < a.columns; c += kThreads)
      sum += double(expf(row[c] - largest));
    for (int offset = 16; offset > 0; offset /= 2) sum += __shfl_xor_sync(0xffffffff, sum, offset);
    if (lane == 0) sums[warp] = sum;
    __syncthreads();
    if (threadIdx.x != 0) return;
    double total = 0;
    for (const double other : sums) total += other;
    const int target = a.targets[blockIdx.x];
    if (target < 0 || target >= a.columns) __trap();
    a.nll[blockIdx.x] = float(log(total) + double(largest) - double(row[target]));
  }
};

}  // namespace

void cross_entropy(const CrossEntropy& op, cudaStream_t stream) {
  if (op.logits.rows == 0) return;
  launch<CrossEntropyKernel>(dim3(unsigned(op.logits.rows)), stream,
                             {.logits = static_cast<const float*>(op.logits.data),
                              .targets = op.targets,
                              .nll = op.nll,
                              .columns = int(op.logits.dim)});
}

}  // namespace emberq::cuda
