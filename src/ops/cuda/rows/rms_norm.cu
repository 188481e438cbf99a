// A CTA holds its row in registers from the one load to the one store, so the kernel moves exactly
// the bytes that cost() counts. docs/kernels/rms_norm.md has the steps and their times.
#include <array>

#include "format/scale.h"
#include "ops/cuda/ptx/sync.cuh"
#include "ops/cuda/rows/reduce.cuh"
#include "ops/cuda/rows/row.cuh"
#include "ops/cuda/rows/row_config.h"
#include "ops/cuda/rows/rows.h"
#include "ops/cuda/runtime/launch.cuh"

namespace emberq::cuda {
namespace {

// Every configuration that is compiled, smallest first. The first that holds a row runs it. Few
// threads with several vectors each keep more rows in flight than many threads with one, and fewer
// warps wait at barriers (H100, 2026-11-21).
constexpr std::array kConfigs = {
    RowConfig{.threads = 128, .vectors = 1, .min_blocks_per_sm = 8},  // dim <= 1024
    RowConfig{.threads = 128, .vectors = 4, .min_blocks_per_sm = 6},  // dim <= 4096
    RowConfig{.threads = 256, .vectors = 4, .min_blocks_per_sm = 3},  // dim <= 8192
    RowConfig{.threads = 512, .vectors = 4, .min_blocks_per_sm = 1},  // dim <= 16384
};

enum class Input { kRow, kSum };  // x, or x + addend

template <RowConfig C, Input kInput, Output kOutput>
struct RmsNormKernel {
  struct Args {
    const Bf16x8* x;       // [rows, vectors]
    const Bf16x8* addend;  // [rows, vectors], kSum
    Bf16x8* sum;           // [rows, vectors], kSum
    const Float8* weight;  // [vectors]
    Stored<kOutput>* out;  // [rows, vectors]
    float* scale;          // [rows], of codes
    int vectors;           // in a row
    float eps;
    int code_max;  // kI8
  };
  static constexpr int kThreads = C.threads;
  static constexpr int kMinBlocksPerSm = C.min_blocks_per_sm;
  static constexpr bool kUsesPdl = true;

  static __device__ void run(const Args& a) {
    const Strided<kThreads, C.vectors> for_each_vector{0, a.vectors};
    const int64_t r = blockIdx.x, begin = r * a.vectors;
    ptx::griddepcontrol_launch_dependents();
    Bf16x8 row[C.vectors], addend[C.vectors];
    Float8 y[C.vectors];  // holds the weights first, which no kernel writes
    for_each_vector([&](int i, int v, bool inside) {
      y[i].raw[0] = inside ? a.weight[v].raw[0] : float4{};
      y[i].raw[1] = inside ? a.weight[v].raw[1] : float4{};
    });
    ptx::griddepcontrol_wait();
    for_each_vector([&](int i, int v, bool inside) {
      row[i].raw = inside ? a.x[begin + v].raw : uint4{};
      if constexpr (kInput == Input::kSum)
        addend[i].raw = inside ? a.addend[begin + v].raw : uint4{};
    });

    if constexpr (kInput == Input::kSum)
      for_each_vector([&](int i, int v, bool inside) {
        row[i] = add(row[i], addend[i]);
        if (inside) a.sum[begin + v].raw = row[i].raw;
      });

    float sum = 0;
    for_each_vector([&](int i, int, bool) {
#pragma unroll
      for (int j = 0; j < 8; ++j) sum += row[i].e[j].to_float() * row[i].e[j].to_float();
    });
    const float mean = block_reduce<Sum, kThreads>(sum) / float(a.vectors * 8);
    const float inverse = rsqrtf(mean + a.eps);
    float absmax = 0;
    for_each_vector([&](int i, int, bool) {
#pragma unroll
      for (int j = 0; j < 8; ++j) y[i].e[j] *= row[i].e[j].to_float() * inverse;
      absmax = max_magnitude(y[i], absmax);
    });

    float scale = 1;
    if constexpr (has_scale(kOutput)) {
      scale = row_scale<kOutput>(block_reduce<Max, kThreads>(absmax), a.code_max);
      if (threadIdx.x == 0) a.scale[r] = scale;
    }
    store_row(for_each_vector, y, scale, a.code_max, a.out + begin);
  }
};

template <Input kInput, Output kOutput>
void start(const RmsNorm& op, cudaStream_t stream) {
  dispatch_rows<kConfigs>("rms_norm", op.x.rows, op.x.dim, [&]<RowConfig C>() {
    using Kernel = RmsNormKernel<C, kInput, kOutput>;
    launch<Kernel>(dim3(unsigned(op.x.rows)), stream,
                   {.x = static_cast<const Bf16x8*>(op.x.data),
                    .addend = static_cast<const Bf16x8*>(op.addend.data),
                    .sum = static_cast<Bf16x8*>(op.sum.data),
                    .weight = reinterpret_cast<const Float8*>(op.weight),
                    .out = static_cast<Stored<kOutput>*>(op.out.data),
                    .scale = op.out.scale,
                    .vectors = int(op.x.dim / 8),
                    .eps = op.eps,
                    .code_max = op.out.code_max});
  });
}

}  // namespace

RowConfig row_config(const RmsNorm& op) {
  return kConfigs[pick_rows(kConfigs, op.x.rows, op.x.dim)];
}

void rms_norm(const RmsNorm& op, cudaStream_t stream) {
  if (op.x.rows == 0) return;
  with_output(op.out, [&]<Output kOutput>() {
    op.addend ? start<Input::kSum, kOutput>(op, stream) : start<Input::kRow, kOutput>(op, stream);
  });
}

}  // namespace emberq::cuda
