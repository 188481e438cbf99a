// A CTA holds its row in registers from the one load to the one store. A long row, or one of few
// rows, is spread over the CTAs of a cluster. docs/kernels/elementwise.md has the floors.
#include <array>
#include <cmath>

#include "format/scale.h"
#include "ops/cuda/ptx/cluster.cuh"
#include "ops/cuda/ptx/registers.cuh"
#include "ops/cuda/ptx/sync.cuh"
#include "ops/cuda/ptx/tma.cuh"
#include "ops/cuda/rows/hadamard.cuh"
#include "ops/cuda/rows/reduce.cuh"
#include "ops/cuda/rows/row.cuh"
#include "ops/cuda/rows/row_config.h"
#include "ops/cuda/rows/rows.h"
#include "ops/cuda/runtime/launch.cuh"

namespace emberq::cuda {
namespace {

constexpr int kVectors = WarpVectors::kCount;

// Configurations for codes. The first that holds the rows runs them. A multiprocessor has as many
// threads as fit with all their loads in flight, in at least two CTAs, so that one loads while
// another computes. A few long rows are spread over eight multiprocessors each. On a single one the
// special-function unit alone would take a microsecond for 14336 columns.
constexpr std::array kConfigs = {
    RowConfig{.threads = 64, .vectors = kVectors, .min_blocks_per_sm = 16},  // dim <= 2048
    RowConfig{.threads = 128, .vectors = kVectors, .min_blocks_per_sm = 8},  // dim <= 4096
    RowConfig{
        .threads = 64, .vectors = kVectors, .min_blocks_per_sm = 16, .cluster = 8, .max_rows = 64},
    RowConfig{
        .threads = 128, .vectors = kVectors, .min_blocks_per_sm = 8, .cluster = 8, .max_rows = 64},
    RowConfig{.threads = 256, .vectors = kVectors, .min_blocks_per_sm = 4},  // dim <= 8192
    RowConfig{.threads = 448, .vectors = kVectors, .min_blocks_per_sm = 2},  // dim <= 14336
    RowConfig{.threads = 512, .vectors = kVectors, .min_blocks_per_sm = 2},  // dim <= 16384
    RowConfig{
        .threads = 512, .vectors = kVectors, .min_blocks_per_sm = 2, .cluster = 2},  // dim <= 32768
    RowConfig{
        .threads = 512, .vectors = kVectors, .min_blocks_per_sm = 2, .cluster = 4},  // dim <= 65536
};
// For values. The CTAs of a row need no cluster, since a row has no scale.
constexpr RowConfig kPart{.threads = 128, .vectors = kVectors, .min_blocks_per_sm = 8};

// x / (1 + exp(-x)) by the special-function unit. If exp(-x) overflows, its infinity gives the
// correct result, -0.
__device__ inline float silu(float x) {
  float exp, inverse;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(exp) : "f"(x * -0x1.715476p0f));  // -log2(e)
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(inverse) : "f"(1 + exp));
  return x * inverse;
}

// row[v]. All threads share the address of the row, and each adds an offset of 32 bits.
__device__ inline const Bf16x8& at(const Bf16x8* row, unsigned v) {
  return *reinterpret_cast<const Bf16x8*>(reinterpret_cast<const char*>(row) + v * 16);
}

enum class Transform { kNone, kHadamard };

template <RowConfig C, Output kOutput, Transform kTransform>
struct SiluAndMulKernel {
  struct Args {
    const Bf16x8 *gate, *up;  // vectors of eight columns, `step` apart
    int step;                 // 1; 2 if gate and up are interleaved
    Stored<kOutput>* out;     // [rows, vectors]
    float* scale;             // [rows], of codes
    int vectors;              // in a row
    int hadamard;             // kHadamard
    float hadamard_scale;
    int code_max;  // kI8
  };
  static constexpr int kThreads = C.threads;
  static constexpr int kMinBlocksPerSm = C.min_blocks_per_sm;
  static constexpr int kCluster = C.cluster;
  static constexpr bool kUsesPdl = true;
  static constexpr int kSharedBytes =
      kTransform == Transform::kHadamard ? kThreads / 32 * kHadamardFours * 16 : 0;

  // The transform takes as long as the load of a row. So that memory is not idle meanwhile, a later
  // row is prefetched into the L2: about the one that the next CTA in this place will load.
  static __device__ void prefetch_later_row(const Args& a, int64_t r, int part) {
    const int64_t later = r + ptx::multiprocessors() * kMinBlocksPerSm / kCluster;
    if (part > 0 || threadIdx.x > 0 || later >= gridDim.x) return;
    const int64_t begin = later * a.vectors * a.step;
    ptx::prefetch_l2(a.gate + begin, a.vectors * a.step * 16);
    if (a.step == 1) ptx::prefetch_l2(a.up + begin, a.vectors * 16);
  }

  // Block index y is the part of the row.
  static __device__ void run(const Args& a) {
    if constexpr (kCluster > 1) ptx::cluster_arrive();
    const int part = kCluster > 1 || !has_scale(kOutput) ? int(blockIdx.y) : 0;
    const int warp = part * (kThreads / 32) + int(threadIdx.x / 32);
    const WarpVectors vectors{warp * WarpVectors::kOfWarp, a.vectors};
    const int64_t r = blockIdx.x, begin = r * a.vectors;
    const Bf16x8 *row_gate = a.gate + begin * a.step, *row_up = a.up + begin * a.step;

    ptx::griddepcontrol_launch_dependents();
    ptx::griddepcontrol_wait();
    Bf16x8 gate[kVectors], up[kVectors];
    visit_memory(vectors, [&](int i, int v, bool inside) {
      gate[i].raw = inside ? at(row_gate, v * a.step).raw : uint4{};
      up[i].raw = inside ? at(row_up, v * a.step).raw : uint4{};
    });

    Float8 y[kVectors];
    vectors([&](int i, int, bool) {
      const Float8 x = to_float(gate[i]), factor = to_float(up[i]);
#pragma unroll
      for (int j = 0; j < 8; ++j)  // rounded here, not fused into the first sum of the transform
        y[i].e[j] = __fmul_rn(silu(x.e[j]), factor.e[j]);
    });
    const auto store = [&](const auto& order, auto& values, auto* out) {
      float scale = 1;
      if constexpr (has_scale(kOutput)) {
        float absmax = 0;
        order([&](int i, int, bool) { absmax = max_magnitude(values[i], absmax); });
        absmax = block_reduce<Max, kThreads>(absmax);
        if constexpr (kCluster > 1) absmax = cluster_reduce<Max, kCluster>(absmax);
        scale = row_scale<kOutput>(absmax, a.code_max);
        if (part == 0 && threadIdx.x == 0) a.scale[r] = scale;
      }
      store_row(order, values, scale, a.code_max, out);
    };
    if constexpr (kTransform == Transform::kNone) {
      store(vectors, y, a.out + begin);
    } else {
      extern __shared__ float4 memory[];
      Float4 transformed[TransformedFours::kCount];
      warp_hadamard(y, a.hadamard, a.hadamard_scale, memory + threadIdx.x / 32 * kHadamardFours,
                    transformed);
      if constexpr (has_scale(kOutput)) prefetch_later_row(a, r, part);
      store(TransformedFours{warp * TransformedFours::kOfWarp, 2 * a.vectors}, transformed,
            reinterpret_cast<StoredHalf<kOutput>*>(a.out + begin));
    }
  }
};

// Each row in `parts` CTAs.
template <RowConfig C, Output kOutput, Transform kTransform>
void start(const SiluAndMul& op, int64_t parts, cudaStream_t stream) {
  using Kernel = SiluAndMulKernel<C, kOutput, kTransform>;
  const auto* gate = static_cast<const Bf16x8*>(op.gate.data);
  const int64_t hadamard = op.hadamard ? op.hadamard : 1;
  launch<Kernel>(dim3(unsigned(op.out.rows), unsigned(parts)), stream,
                 {.gate = gate,
                  .up = op.interleaved() ? gate + 1 : static_cast<const Bf16x8*>(op.up.data),
                  .step = op.interleaved() ? 2 : 1,
                  .out = static_cast<Stored<kOutput>*>(op.out.data),
                  .scale = op.out.scale,
                  .vectors = int(op.out.dim / 8),
                  .hadamard = int(hadamard),
                  .hadamard_scale = float(1 / std::sqrt(double(hadamard))),
                  .code_max = op.out.code_max});
}
template <RowConfig C, Output kOutput>
void start(const SiluAndMul& op, int64_t parts, cudaStream_t stream) {
  op.hadamard > 1 ? start<C, kOutput, Transform::kHadamard>(op, parts, stream)
                  : start<C, kOutput, Transform::kNone>(op, parts, stream);
}

}  // namespace

RowConfig row_config(const SiluAndMul& op) {
  const bool one_scale = op.out.quantized() && op.out.scales_per_row() == 1;
  return one_scale ? kConfigs[pick_rows(kConfigs, op.out.rows, op.out.dim)] : kPart;
}

void silu_and_mul(const SiluAndMul& op, cudaStream_t stream) {
  static_assert(SiluAndMul::kInterleaved == 8, "a vector of gate, then one of up");
  require_vectors("silu_and_mul", op.out.dim);
  require_hadamard("silu_and_mul", op.hadamard);
  if (op.out.rows == 0) return;
  with_output(op.out, [&]<Output kOutput>() {
    if constexpr (has_scale(kOutput))
      dispatch_rows<kConfigs>("silu_and_mul", op.out.rows, op.out.dim,
                              [&]<RowConfig C>() { start<C, kOutput>(op, C.cluster, stream); });
    else
      start<kPart, kOutput>(op, (op.out.dim - 1) / kPart.max_dim() + 1, stream);
  });
}

}  // namespace emberq::cuda
