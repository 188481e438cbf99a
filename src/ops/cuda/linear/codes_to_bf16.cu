#include "ops/cuda/linear/codes_to_bf16.h"
#include "ops/cuda/linear/to_bf16.cuh"
#include "ops/cuda/runtime/launch.cuh"

namespace emberq::cuda {
namespace {

template <bool kIntegers>
struct CodesToBf16Kernel {
  struct Args {
    const uint2* codes;  // eight each
    uint4* values;
    int64_t vectors;
  };
  static constexpr int kThreads = 256;
  static constexpr int kMinBlocksPerSm = 8;

  static __device__ void run(const Args& a) {
    const int64_t v = int64_t(blockIdx.x) * kThreads + threadIdx.x;
    if (v >= a.vectors) return;
    const uint2 codes = a.codes[v];
    const auto widen = [](uint32_t bytes) {
      return kIntegers ? s8_to_bf16(bytes) : e4m3_to_bf16(bytes);
    };
    const Bf16Pairs first = widen(codes.x), second = widen(codes.y);
    a.values[v] = {first.pair[0], first.pair[1], second.pair[0], second.pair[1]};
  }
};

template <bool kIntegers>
void start(const Activations& x, const Buffer& values, cudaStream_t stream) {
  using Kernel = CodesToBf16Kernel<kIntegers>;
  const int64_t vectors = x.rows * x.dim / 8;
  launch<Kernel>(dim3(unsigned((vectors + Kernel::kThreads - 1) / Kernel::kThreads)), stream,
                 {static_cast<const uint2*>(x.data), values.as<uint4>(), vectors});
}

}  // namespace

Buffer codes_to_bf16(Backend& backend, const Activations& x, cudaStream_t stream) {
  Buffer values(backend, size_t(x.rows * x.dim) * sizeof(uint16_t));
  x.dtype == DType::kI8 ? start<true>(x, values, stream) : start<false>(x, values, stream);
  return values;
}

}  // namespace emberq::cuda
