// Each row in registers from its one load to its one store, by one block or, where it is long or
// one of few, by a cluster of them. docs/kernels/elementwise.md has the floors.
#include <array>
#include <cmath>

#include "format/scale.h"
#include "ops/cuda/ptx/cluster.cuh"
#include "ops/cuda/ptx/pipeline.cuh"
#include "ops/cuda/rows/hadamard.cuh"
#include "ops/cuda/rows/reduce.cuh"
#include "ops/cuda/rows/row.cuh"
#include "ops/cuda/rows/row_config.cuh"
#include "ops/cuda/rows/rows.h"
#include "ops/cuda/runtime/launch.cuh"

namespace emberq::cuda {
namespace {

using device::Bf16x8;
using device::Float4;
using device::Float8;
using device::Output;
using device::TransformedFours;
using device::WarpVectors;

constexpr int kVectors = WarpVectors::kCount;

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
    RowConfig{.threads = 448, .vectors = kVectors, .blocks = 2},                // dim <= 14336
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

// row[v], by an address of the row that all threads share and 32 bits of their own.
__device__ inline const Bf16x8& at(const Bf16x8* row, unsigned v) {
  return *reinterpret_cast<const Bf16x8*>(reinterpret_cast<const char*>(row) + v * 16);
}

enum class Transform { kNone, kHadamard };

template <RowConfig C, Output kOutput, Transform kTransform>
struct SiluMulKernel {
  struct Args {
    const Bf16x8 *gate, *up;       // eights of columns, `step` from one to the next
    int step;                      // 1; 2 where gate and up take turns
    device::Stored<kOutput>* out;  // [rows, vectors]
    float* scale;                  // [rows], kFp8
    int vectors;                   // in a row
    int hadamard;                  // kHadamard
    float hadamard_scale;
  };
  static constexpr int kThreads = C.threads;
  static constexpr int kBlocks = C.blocks;
  static constexpr int kCluster = C.cluster;
  static constexpr bool kEarly = true;
  static constexpr int kSharedBytes =
      kTransform == Transform::kHadamard ? kThreads / 32 * device::kHadamardFours * 16 : 0;

  // The transform takes as long as a row does to arrive. So that memory is not idle meanwhile, the
  // row of about the block that will begin where this one ends is asked for, to the L2.
  static __device__ void prefetch_later_row(const Args& a, int64_t r, int part) {
    const int64_t later = r + device::multiprocessors() * kBlocks / kCluster;
    if (part > 0 || threadIdx.x > 0 || later >= gridDim.x) return;
    const int64_t begin = later * a.vectors * a.step;
    device::prefetch_bulk(a.gate + begin, a.vectors * a.step * 16);
    if (a.step == 1) device::prefetch_bulk(a.up + begin, a.vectors * 16);
  }

  // The y-th block of a row has its y-th part.
  static __device__ void run(const Args& a) {
    if constexpr (kCluster > 1) device::cluster_arrive();
    const int part = kCluster > 1 || kOutput == Output::kBf16 ? int(blockIdx.y) : 0;
    const int warp = part * (kThreads / 32) + int(threadIdx.x / 32);
    const WarpVectors vectors{warp * WarpVectors::kOfWarp, a.vectors};
    const int64_t r = blockIdx.x, begin = r * a.vectors;
    const Bf16x8 *row_gate = a.gate + begin * a.step, *row_up = a.up + begin * a.step;

    device::wait_for_dependencies();
    Bf16x8 gate[kVectors], up[kVectors];
    device::visit_memory(vectors, [&](int i, int v, bool inside) {
      gate[i].raw = inside ? at(row_gate, v * a.step).raw : uint4{};
      up[i].raw = inside ? at(row_up, v * a.step).raw : uint4{};
    });
    device::launch_dependents();

    Float8 y[kVectors];
    vectors([&](int i, int, bool) {
      const Float8 x = device::to_float(gate[i]), factor = device::to_float(up[i]);
#pragma unroll
      for (int j = 0; j < 8; ++j)  // rounded as it is, not inside the transform's first sum
        y[i].e[j] = __fmul_rn(silu(x.e[j]), factor.e[j]);
    });
    const auto store = [&](const auto& order, auto& values, auto* out) {
      float scale = 1;
      if constexpr (kOutput == Output::kFp8) {
        float absmax = 0;
        order([&](int i, int, bool) { absmax = device::absmax(values[i], absmax); });
        absmax = device::block_reduce<device::Max, kThreads>(absmax);
        if constexpr (kCluster > 1) absmax = device::cluster_reduce<device::Max, kCluster>(absmax);
        scale = fp8_row_scale(absmax);
        if (part == 0 && threadIdx.x == 0) a.scale[r] = scale;
      }
      device::store_row(order, values, scale, out);
    };
    if constexpr (kTransform == Transform::kNone) {
      store(vectors, y, a.out + begin);
    } else {
      extern __shared__ float4 memory[];
      Float4 transformed[TransformedFours::kCount];
      device::warp_hadamard(y, a.hadamard, a.hadamard_scale,
                            memory + threadIdx.x / 32 * device::kHadamardFours, transformed);
      if constexpr (kOutput == Output::kFp8) prefetch_later_row(a, r, part);
      store(TransformedFours{warp * TransformedFours::kOfWarp, 2 * a.vectors}, transformed,
            reinterpret_cast<device::StoredHalf<kOutput>*>(a.out + begin));
    }
  }
};

// Each row in `parts` blocks.
template <RowConfig C, Output kOutput, Transform kTransform>
void start(const SiluMul& op, int64_t parts, cudaStream_t stream) {
  using Kernel = SiluMulKernel<C, kOutput, kTransform>;
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
template <RowConfig C, Output kOutput>
void start(const SiluMul& op, int64_t parts, cudaStream_t stream) {
  op.hadamard > 1 ? start<C, kOutput, Transform::kHadamard>(op, parts, stream)
                  : start<C, kOutput, Transform::kNone>(op, parts, stream);
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
