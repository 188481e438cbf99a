// A linear by its definition in double, one thread for each output. The fast kernels are compared
// with it.
#include <cuda_bf16.h>

#include "format/fp8.h"
#include "ops/cuda/linear/canonical.cuh"
#include "ops/cuda/linear/output.cuh"
#include "ops/cuda/runtime/launch.cuh"

namespace emberq::cuda {
namespace {

// [n, k] BF16
struct DenseValues {
  const __nv_bfloat16* values;
  int k;

  __device__ float value(int row, int column) const {
    return __bfloat162float(values[int64_t(row) * k + column]);
  }
};

template <class Weight>
struct NaiveLinearKernel {
  struct Args {
    Activations x;
    Weight weight;
    const int32_t* rows;  // [m] or null
    LinearOutput out;
  };
  static constexpr int kThreads = 128;
  static constexpr int kMinBlocksPerSm = 1;

  static __device__ float element(const Activations& x, int64_t at) {
    switch (x.dtype) {
      case DType::kF8E4M3:
        return fp8_decode(static_cast<const uint8_t*>(x.data)[at]);
      case DType::kI8:
        return float(static_cast<const int8_t*>(x.data)[at]);
      default:
        return __bfloat162float(static_cast<const __nv_bfloat16*>(x.data)[at]);
    }
  }

  static __device__ void run(const Args& a) {
    const int column = int(blockIdx.x) * kThreads + int(threadIdx.x), token = int(blockIdx.y);
    if (column >= a.out.n) return;
    const int64_t row = a.rows ? a.rows[token] : token, k = a.x.dim;
    if (row < 0 || row >= a.x.rows) __trap();
    const float* scales =
        a.x.scale ? a.x.scale + row * (a.x.group > 0 ? k / a.x.group : 1) : nullptr;
    double sum = 0;
    for (int64_t j = 0; j < k; ++j) {
      double term = double(element(a.x, row * k + j)) * double(a.weight.value(column, int(j)));
      if (a.x.group > 0) term *= double(scales[j / a.x.group]);
      sum += term;
    }
    if (scales && a.x.group == 0) sum *= double(scales[0]);
    a.out.store(token, column, float(sum));
  }
};

template <class Weight>
void start(const Linear& op, const Weight& weight, cudaStream_t stream) {
  if (op.out.rows == 0) return;
  using Kernel = NaiveLinearKernel<Weight>;
  launch<Kernel>(
      dim3(unsigned((op.out.dim + Kernel::kThreads - 1) / Kernel::kThreads), unsigned(op.out.rows)),
      stream, {op.x, weight, op.rows, LinearOutput::of(op)});
}

}  // namespace

void linear_naive(const Linear& op, const CanonicalWeight& weight, cudaStream_t stream) {
  start(op, CanonicalCodes::of(weight, op.out.dim, op.x.dim), stream);
}

void linear_naive(const Linear& op, const void* weight, cudaStream_t stream) {
  start(op, DenseValues{static_cast<const __nv_bfloat16*>(weight), int(op.x.dim)}, stream);
}

}  // namespace emberq::cuda
