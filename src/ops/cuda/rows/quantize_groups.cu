// Rows to codes with a scale for each group of columns: a warp for each group, which reads it
// twice.
#include "format/scale.h"
#include "ops/cuda/rows/reduce.cuh"
#include "ops/cuda/rows/rows.h"
#include "ops/cuda/rows/vector.cuh"
#include "ops/cuda/runtime/launch.cuh"

namespace emberq::cuda {
namespace {

template <class In>
struct QuantizeGroupsKernel {
  struct Args {
    const In* x;     // [groups, size]
    uint8_t* codes;  // [groups, size]
    float* scale;    // [groups]
    int64_t groups;  // of all rows
    int size;
    bool integers;  // I8; else e4m3
    int code_max;   // of I8
  };
  static constexpr int kThreads = 256;
  static constexpr int kMinBlocksPerSm = 4;

  static __device__ float value(float x) { return x; }
  static __device__ float value(bf16 x) { return x.to_float(); }

  static __device__ void run(const Args& a) {
    const int64_t group = int64_t(blockIdx.x) * (kThreads / 32) + threadIdx.x / 32;
    if (group >= a.groups) return;
    const int lane = int(threadIdx.x) % 32;
    const In* x = a.x + group * a.size;
    uint8_t* codes = a.codes + group * a.size;
    float absmax = 0;
    for (int c = lane; c < a.size; c += 32) absmax = fmaxf(absmax, fabsf(value(x[c])));
    absmax = Max::join_lanes(absmax);
    const float scale = a.integers ? int_row_scale(absmax, a.code_max) : fp8_row_scale(absmax);
    if (lane == 0) a.scale[group] = scale;
    for (int c = lane; c < a.size; c += 32) {
      const float v = value(x[c]);
      codes[c] = a.integers ? uint8_t(int_quantize(v, scale, a.code_max)) : fp8_quantize(v, scale);
    }
  }
};

template <class In>
void start(const Activations& x, const Activations& out, cudaStream_t stream) {
  using Kernel = QuantizeGroupsKernel<In>;
  constexpr int kGroupsOfCta = Kernel::kThreads / 32;
  const int64_t groups = out.rows * out.scales_per_row();
  launch<Kernel>(dim3(unsigned((groups + kGroupsOfCta - 1) / kGroupsOfCta)), stream,
                 {.x = static_cast<const In*>(x.data),
                  .codes = static_cast<uint8_t*>(out.data),
                  .scale = out.scale,
                  .groups = groups,
                  .size = int(out.dim / out.scales_per_row()),
                  .integers = out.dtype == DType::kI8,
                  .code_max = out.code_max});
}

}  // namespace

void quantize_groups(const Activations& x, const Activations& out, cudaStream_t stream) {
  if (out.rows == 0) return;
  x.dtype == DType::kF32 ? start<float>(x, out, stream) : start<bf16>(x, out, stream);
}

}  // namespace emberq::cuda
