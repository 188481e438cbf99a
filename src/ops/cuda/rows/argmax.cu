#include "ops/cuda/ptx/sync.cuh"
#include "ops/cuda/rows/rows.h"
#include "ops/cuda/runtime/launch.cuh"

namespace emberq::cuda {
namespace {

// A CTA for each row.
struct ArgmaxKernel {
  struct Args {
    const float* logits;  // [rows, columns]
    int32_t* ids;         // [rows]
    int columns;
  };
  static constexpr int kThreads = 1024;
  static constexpr int kMinBlocksPerSm = 2;
  static constexpr bool kUsesPdl = true;

  // Larger for a larger value, for the smaller column of equals, and largest for NaN.
  static __device__ uint64_t key(float value, int column) {
    const uint32_t bits = __float_as_uint(value == 0 ? 0.0f : value);
    const uint32_t ordered = bits & 0x80000000u ? ~bits : bits | 0x80000000u;
    return uint64_t(isnan(value) ? 0xffffffffu : ordered) << 32 | uint32_t(~column);
  }

  static __device__ void run(const Args& a) {
    __shared__ uint64_t keys[kThreads / 32];
    ptx::griddepcontrol_wait();
    ptx::griddepcontrol_launch_dependents();
    const float* row = a.logits + int64_t(blockIdx.x) * a.columns;
    uint64_t largest = 0;
    for (int c = int(threadIdx.x); c < a.columns; c += kThreads)
      largest = max(largest, key(row[c], c));
    for (int offset = 16; offset > 0; offset /= 2)
      largest = max(largest, __shfl_xor_sync(0xffffffff, largest, offset));
    if (threadIdx.x % 32 == 0) keys[threadIdx.x / 32] = largest;
    __syncthreads();
    if (threadIdx.x != 0) return;
    for (const uint64_t other : keys) largest = max(largest, other);
    a.ids[blockIdx.x] = largest >> 32 == 0xffffffffu ? -1 : ~int32_t(uint32_t(largest));
  }
};

}  // namespace

void argmax(const Argmax& op, cudaStream_t stream) {
  if (op.logits.rows == 0) return;
  launch<ArgmaxKernel>(dim3(unsigned(op.logits.rows)), stream,
                       {.logits = static_cast<const float*>(op.logits.data),
                        .ids = op.ids,
                        .columns = int(op.logits.dim)});
}

}  // namespace emberq::cuda
