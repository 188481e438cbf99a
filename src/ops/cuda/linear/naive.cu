// A linear by its definition, one thread for each output. The fast kernels are compared with it.
#include <cuda_bf16.h>

#include "format/fp8.h"
#include "format/weight_code.h"
#include "ops/cuda/linear/epilogue.cuh"
#include "ops/cuda/linear/linear.h"
#include "ops/cuda/runtime/launch.cuh"

namespace emberq::cuda {
namespace {

template <bool kFp8Input>
struct NaiveLinearKernel {
  struct Args {
    const void* x;  // [m, k] e4m3 or BF16
    const uint32_t* packed;
    const __nv_bfloat16* scale;
    float values[16];  // of the codes
    int k, groups, group_size;
    Dequant dequant;
    float global_scale;
    LinearEpilogue epilogue;
  };
  static constexpr int kThreads = 128;
  static constexpr int kMinBlocksPerSm = 1;

  static __device__ void run(const Args& a) {
    const int column = int(blockIdx.x) * kThreads + int(threadIdx.x), token = int(blockIdx.y);
    if (column >= a.epilogue.n) return;
    double sum = 0;
    for (int j = 0; j < a.k; ++j) {
      const int64_t at = int64_t(token) * a.k + j;
      float x;
      if constexpr (kFp8Input)
        x = fp8_decode(static_cast<const uint8_t*>(a.x)[at]);
      else
        x = __bfloat162float(static_cast<const __nv_bfloat16*>(a.x)[at]);
      const uint32_t u = a.packed[int64_t(column) * (a.k / 8) + j / 8] >> j % 8 * 4 & 15;
      const float s = __bfloat162float(a.scale[int64_t(column) * a.groups + j / a.group_size]);
      const float w = dequantize(a.dequant, a.values[u], s, a.global_scale);
      sum += double(x) * double(w);
    }
    const float* scales = a.epilogue.x_scale;
    a.epilogue.store(token, column, float(sum), scales ? scales[token] : 1.0f);
  }
};

template <bool kFp8Input>
void start(const Linear& op, const CanonicalWeight& canonical, cudaStream_t stream) {
  const Weight& weight = *op.weight;
  using Kernel = NaiveLinearKernel<kFp8Input>;
  typename Kernel::Args args{.x = op.x.data,
                             .packed = canonical.packed.as<uint32_t>(),
                             .scale = canonical.scale.as<__nv_bfloat16>(),
                             .k = int(weight.k),
                             .groups = int(weight.k / canonical.scheme.group_size),
                             .group_size = canonical.scheme.group_size,
                             .dequant = canonical.scheme.dequant,
                             .global_scale = canonical.global_scale,
                             .epilogue = LinearEpilogue::of(op)};
  for (int u = 0; u < 16; ++u) args.values[u] = weight_code_value(canonical.scheme, u);
  launch<Kernel>(
      dim3(unsigned((weight.n + Kernel::kThreads - 1) / Kernel::kThreads), unsigned(op.x.rows)),
      stream, args);
}

}  // namespace

void linear_naive(const Linear& op, const CanonicalWeight& weight, cudaStream_t stream) {
  if (op.x.rows == 0) return;
  op.x.quantized() ? start<true>(op, weight, stream) : start<false>(op, weight, stream);
}

}  // namespace emberq::cuda
