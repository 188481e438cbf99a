// Each row in registers from its one load to its one store, by one block or, where it is long or
// one of few, by a cluster of them. docs/kernels/elementwise.md has the floors.
#include <array>
#include <cmath>

#include "format/scale.h"
#include "ops/cuda/cuda_backend.h"
#include "ops/cuda/device/cluster.cuh"
#include "ops/cuda/device/hadamard.cuh"
#include "ops/cuda/device/reduce.cuh"
#include "ops/cuda/device/row.cuh"
#include "ops/cuda/launch.cuh"
#include "ops/cuda/row_config.cuh"

namespace emberq::cuda {
namespace {

using device::Bf16x8;
using device::Float8;
using device::Output;
using device::WarpHadamardOrder;

constexpr int kVectors = WarpHadamardOrder::kVectors;

// For e4m3; the first that holds the rows runs them. As many threads as fit with all their loads on
// their way at once, in two blocks or more, so that one loads while another computes. A few long
// rows go over eight multiprocessors each: on one, the special-function unit alone would take a
// microsecond for 14336 columns.
constexpr std::array kConfigs = {
    RowConfig{.threads = 64, .vectors = kVectors, .blocks = 16},  // dim <= 2048
    RowConfig{.threads = 128, .vectors = kVectors, .blocks = 8},  // dim <= 4096
    RowConfig{.threads = 64, .vectors = kVectors, .blocks = 16, .cluster = 8, .max_rows = 64},
    RowConfig{.threads = 128, .vectors = kVectors, .blocks = 8, .cluster = 8, .max_rows = 64},
    RowConfig{.threads = 256, .vectors = kVectors, .blocks = 4},                // dim <= 8192
    RowConfig{.threads = 512, .vectors = kVectors, .blocks = 2},                // dim <= 16384
    RowConfig{.threads = 512, .vectors = kVectors, .blocks = 2, .cluster = 2},  // dim <= 32768
    RowConfig{.threads = 512, .vectors = kVectors, .blocks = 2, .cluster = 4},  // dim <= 65536
};
// For BF16, whose blocks have nothing to tell each other.
constexpr RowConfig kPart{.threads = 128, .vectors = kVectors, .blocks = 8};

// x / (1 + exp(-x)) by the special-function unit. The unit's infinity and zero are what they should
// be: exp(-x) beyond the range of floats leaves -0.
__device__ inline float silu(float x) {
  float exp, inverse;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(exp) : "f"(x * -0x1.715476p0f));  // -log2(e)
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(inverse) : "f"(1 + exp));
  return x * inverse;
}

template <RowConfig C, Output kOutput>
struct SiluMulKernel {
  struct Args {
    const Bf16x8 *gate, *up;       // eights of columns, `step` from one to the next
    int step;                      // 1; 2 where gate and up take turns
    device::Stored<kOutput>* out;  // [rows, vectors]
    float* scale;                  // [rows], kFp8
    int vectors;                   // in a row
    int hadamard;                  // 1: none
    float hadamard_scale;
  };
  static constexpr int kThreads = C.threads;
  static constexpr int kBlocks = C.blocks;
  static constexpr int kCluster = C.cluster;

  // The y-th block of a row has its y-th part.
  static __device__ void run(const Args& a) {
    if constexpr (kCluster > 1) device::cluster_arrive();
    const int warp = int(blockIdx.y * kThreads + threadIdx.x) / 32;
    const WarpHadamardOrder for_each_vector{warp * WarpHadamardOrder::kVectorsOfWarp, a.vectors};
    const int64_t r = blockIdx.x, begin = r * a.vectors;
    Bf16x8 gate[kVectors], up[kVectors];
    for_each_vector([&](int i, int v, bool inside) {
      gate[i].raw = inside ? a.gate[(begin + v) * a.step].raw : uint4{};
      up[i].raw = inside ? a.up[(begin + v) * a.step].raw : uint4{};
    });

    Float8 y[kVectors];
    for_each_vector([&](int i, int, bool) {
      const Float8 x = device::to_float(gate[i]), factor = device::to_float(up[i]);
#pragma unroll
      for (int j = 0; j < 8; ++j)  // rounded as it is, not inside the transform's first sum
        y[i].e[j] = __fmul_rn(silu(x.e[j]), factor.e[j]);
    });
    if (a.hadamard > 1) device::warp_hadamard(y, a.hadamard, a.hadamard_scale);

    float scale = 1;
    if constexpr (kOutput == Output::kFp8) {
      float absmax = 0;
      for_each_vector([&](int i, int, bool) { absmax = device::absmax(y[i], absmax); });
      absmax = device::block_reduce<device::Max, kThreads>(absmax);
      if constexpr (kCluster > 1) absmax = device::cluster_reduce<device::Max, kCluster>(absmax);
      scale = fp8_row_scale(absmax);
      if (blockIdx.y == 0 && threadIdx.x == 0) a.scale[r] = scale;
    }
    device::store_row<kOutput>(for_each_vector, y, scale, a.out + begin);
  }
};

// Each row in `parts` blocks.
template <RowConfig C, Output kOutput>
void start(const SiluMul& op, int64_t parts, cudaStream_t stream) {
  using Kernel = SiluMulKernel<C, kOutput>;
  const auto* gate = static_cast<const Bf16x8*>(op.gate.data);
  const int64_t hadamard = op.hadamard ? op.hadamard : 1;
  launch<Kernel>(dim3(unsigned(op.out.rows), unsigned(parts)), stream,
                 {.gate = gate,
                  .up = op.interleaved() ? gate + 1 : static_cast<const Bf16x8*>(op.up.data),
                  .step = op.interleaved() ? 2 : 1,
                  .out = static_cast<device::Stored<kOutput>*>(op.out.data),
                  .scale = op.out.scale,
                  .vectors = int(op.out.dim / 8),
                  .hadamard = int(hadamard),
                  .hadamard_scale = float(1 / std::sqrt(double(hadamard)))});
}

}  // namespace

void silu_mul(const SiluMul& op, cudaStream_t stream) {
  static_assert(SiluMul::kInterleaved == 8, "a vector of gate, then one of up");
  require_vectors("silu_mul", op.out.dim);
  if (op.hadamard > device::kLargestHadamard)
    fail("op.hadamard <= device::kLargestHadamard",
         "silu_mul: the cuda backend transforms blocks of up to " +
             std::to_string(device::kLargestHadamard) + ", got " + std::to_string(op.hadamard));
  if (op.out.rows == 0) return;
  if (!op.out.quantized())
    return start<kPart, Output::kBf16>(op, (op.out.dim - 1) / kPart.max_dim() + 1, stream);
  start_first_that_holds<kConfigs>("silu_mul", op.out.rows, op.out.dim, [&]<RowConfig C>() {
    start<C, Output::kFp8>(op, C.cluster, stream);
  });
}

}  // namespace emberq::cuda
