// A linear of BF16 weights and inputs, as a model's head is: logits in FP32, of chosen rows.
//
// A warp multiplies four columns of the weight with up to eight tokens. Each weight is read once
// for eight tokens, so few tokens run at the speed of memory; many tokens want tensor cores, which
// this kernel does not use. The sum of an element has the same order for any number of tokens.
#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include "ops/cuda/linear/linear.h"
#include "ops/cuda/rows/reduce.cuh"
#include "ops/cuda/rows/row_config.h"
#include "ops/cuda/rows/vector.cuh"
#include "ops/cuda/runtime/launch.cuh"

namespace emberq::cuda {
namespace {

__device__ float to_f32(float x) { return x; }
__device__ float to_f32(__nv_bfloat16 x) { return __bfloat162float(x); }
__device__ float to_f32(__half x) { return __half2float(x); }
template <class T>
__device__ T rounded(float x);
template <>
__device__ float rounded(float x) {
  return x;
}
template <>
__device__ __nv_bfloat16 rounded(float x) {
  return __float2bfloat16_rn(x);
}
template <>
__device__ __half rounded(float x) {
  return __float2half_rn(x);
}

template <class Out, int kTokens>
struct UnquantizedLinearKernel {
  struct Args {
    const uint4* x;       // [x_rows, vectors]
    const uint4* weight;  // [n, vectors]
    const int32_t* rows;  // [m] or null
    const float* bias;    // [n] or null
    const Out* residual;  // [m, n] or null; may alias out
    Out* out;             // [m, n]
    int64_t x_rows;
    int m, n;
    int vectors;  // of eight BF16, in a row
  };
  static constexpr int kThreads = 128;
  static constexpr int kMinBlocksPerSm = 3;
  static constexpr int kColumns = 4;  // of a warp
  static constexpr int kColumnsOfCta = kThreads / 32 * kColumns;
  static_assert(kTokens * kColumns <= 32);  // a lane stores one element

  static __device__ void run(const Args& a) {
    const int lane = int(threadIdx.x) % 32, warp = int(threadIdx.x) / 32;
    const int column = int(blockIdx.x) * kColumnsOfCta + warp * kColumns;
    const int token = int(blockIdx.y) * kTokens;
    if (column >= a.n) return;
    // Past the last token or column, the last one is multiplied again and not stored.
    const uint4 *x[kTokens], *weight[kColumns];
#pragma unroll
    for (int t = 0; t < kTokens; ++t) {
      const int m = min(token + t, a.m - 1);
      const int64_t row = a.rows ? a.rows[m] : m;
      if (row < 0 || row >= a.x_rows) __trap();
      x[t] = a.x + row * a.vectors;
    }
#pragma unroll
    for (int c = 0; c < kColumns; ++c)
      weight[c] = a.weight + int64_t(min(column + c, a.n - 1)) * a.vectors;

    float sum[kTokens][kColumns] = {};
    for (int v = lane; v < a.vectors; v += 32) {
      Float8 w[kColumns];
#pragma unroll
      for (int c = 0; c < kColumns; ++c) w[c] = to_float(Bf16x8{weight[c][v]});
#pragma unroll
      for (int t = 0; t < kTokens; ++t) {
        const Float8 value = to_float(Bf16x8{x[t][v]});
#pragma unroll
        for (int c = 0; c < kColumns; ++c)
#pragma unroll
          for (int i = 0; i < 8; ++i) sum[t][c] = fmaf(value.e[i], w[c].e[i], sum[t][c]);
      }
    }
#pragma unroll
    for (int t = 0; t < kTokens; ++t)
#pragma unroll
      for (int c = 0; c < kColumns; ++c) {
        const float total = Sum::join_lanes(sum[t][c]);
        if (lane == t * kColumns + c) store(a, token + t, column + c, total);
      }
  }

 private:
  static __device__ void store(const Args& a, int token, int column, float y) {
    if (token >= a.m || column >= a.n) return;
    const int64_t at = int64_t(token) * a.n + column;
    if (a.bias) y += a.bias[column];
    if (a.residual) y += to_f32(a.residual[at]);
    a.out[at] = rounded<Out>(y);
  }
};

template <class Out, int kTokens>
void start(const Linear& op, const void* weight, cudaStream_t stream) {
  using Kernel = UnquantizedLinearKernel<Out, kTokens>;
  const auto blocks = [](int64_t count, int of) { return unsigned((count + of - 1) / of); };
  launch<Kernel>(dim3(blocks(op.out.dim, Kernel::kColumnsOfCta), blocks(op.out.rows, kTokens)),
                 stream,
                 {.x = static_cast<const uint4*>(op.x.data),
                  .weight = static_cast<const uint4*>(weight),
                  .rows = op.rows,
                  .bias = op.bias,
                  .residual = static_cast<const Out*>(op.residual.data),
                  .out = static_cast<Out*>(op.out.data),
                  .x_rows = op.x.rows,
                  .m = int(op.out.rows),
                  .n = int(op.out.dim),
                  .vectors = int(op.x.dim / 8)});
}

template <class Out>
void start(const Linear& op, const void* weight, cudaStream_t stream) {
  op.out.rows == 1 ? start<Out, 1>(op, weight, stream) : start<Out, 8>(op, weight, stream);
}

}  // namespace

void linear_unquantized(const Linear& op, const void* weight, cudaStream_t stream) {
  require_vectors("linear", op.x.dim);
  if (op.out.rows == 0) return;
  switch (op.out.dtype) {
    case DType::kF32:
      return start<float>(op, weight, stream);
    case DType::kF16:
      return start<__half>(op, weight, stream);
    default:
      return start<__nv_bfloat16>(op, weight, stream);
  }
}

}  // namespace emberq::cuda
