// One block per row, which stays in registers from its one load to its one store: the kernel moves
// exactly the bytes that cost() counts. docs/kernels/rms_norm.md has the steps and their times.
#include <array>
#include <string>
#include <type_traits>
#include <utility>

#include "format/scale.h"
#include "ops/cuda/cuda_backend.h"
#include "ops/cuda/device/reduce.cuh"
#include "ops/cuda/device/vector.cuh"
#include "ops/cuda/launch.cuh"

namespace emberq::cuda {
namespace {

using device::Bf16x8;
using device::Float8;
using device::Fp8x8;

struct RmsNormConfig {
  int threads;  // in a block
  int vectors;  // of eight elements, that each thread holds
  int blocks;   // at least so many at once on a multiprocessor, which bounds the registers
  constexpr int max_dim() const { return threads * vectors * 8; }
};

// Every configuration that is compiled, smallest first; the first that holds a row runs it. Few
// threads with much each keep more rows in flight, and fewer warps waiting at barriers, than many
// with little (H100, 2026-11-21).
constexpr std::array kConfigs = {
    RmsNormConfig{.threads = 128, .vectors = 1, .blocks = 8},  // dim <= 1024
    RmsNormConfig{.threads = 128, .vectors = 4, .blocks = 6},  // dim <= 4096
    RmsNormConfig{.threads = 256, .vectors = 4, .blocks = 3},  // dim <= 8192
    RmsNormConfig{.threads = 512, .vectors = 4, .blocks = 1},  // dim <= 16384
};

enum class Output { kBf16, kFp8 };

template <RmsNormConfig C, Output kOutput>
struct RmsNormKernel {
  using Out = std::conditional_t<kOutput == Output::kFp8, Fp8x8, Bf16x8>;

  struct Args {
    const Bf16x8* x;       // [rows, vectors]
    const Float8* weight;  // [vectors]
    Out* out;              // [rows, vectors]
    float* scale;          // [rows], kFp8
    int vectors;           // in a row
    float eps;
  };
  static constexpr int kThreads = C.threads;
  static constexpr int kBlocks = C.blocks;

  static __device__ void run(const Args& a) {
    const auto for_each_vector = [&](const auto& visit) {
#pragma unroll
      for (int i = 0; i < C.vectors; ++i) {
        const int v = int(threadIdx.x) + i * kThreads;
        visit(i, v, v < a.vectors);
      }
    };
    const int64_t r = blockIdx.x;
    Bf16x8 row[C.vectors];
    Float8 y[C.vectors];  // the weights first: both loads are on their way together
    for_each_vector([&](int i, int v, bool inside) {
      row[i].raw = inside ? a.x[r * a.vectors + v].raw : uint4{};
    });
    for_each_vector([&](int i, int v, bool inside) {
      y[i].raw[0] = inside ? a.weight[v].raw[0] : float4{};
      y[i].raw[1] = inside ? a.weight[v].raw[1] : float4{};
    });

    float sum = 0;
    for_each_vector([&](int i, int, bool) {
#pragma unroll
      for (int j = 0; j < 8; ++j) sum += row[i].e[j].to_float() * row[i].e[j].to_float();
    });
    const float mean = device::block_reduce<device::Sum, kThreads>(sum) / float(a.vectors * 8);
    const float inverse = rsqrtf(mean + a.eps);
    float absmax = 0;
    for_each_vector([&](int i, int, bool) {
#pragma unroll
      for (int j = 0; j < 8; ++j) {
        y[i].e[j] *= row[i].e[j].to_float() * inverse;
        absmax = fmaxf(absmax, fabsf(y[i].e[j]));
      }
    });

    Out* out = a.out + r * a.vectors;
    if constexpr (kOutput == Output::kBf16) {
      for_each_vector([&](int i, int v, bool inside) {
        if (inside) out[v].raw = device::to_bf16(y[i]).raw;
      });
    } else {
      const float scale = fp8_row_scale(device::block_reduce<device::Max, kThreads>(absmax));
      const device::RowQuotient quotient(scale);
      if (threadIdx.x == 0) a.scale[r] = scale;
      for_each_vector([&](int i, int v, bool inside) {
        if (inside) out[v].raw = device::to_fp8(y[i], quotient).raw;
      });
    }
  }
};

template <RmsNormConfig C, Output kOutput>
void start(const RmsNorm& op, cudaStream_t stream) {
  using Kernel = RmsNormKernel<C, kOutput>;
  launch<Kernel>(dim3(unsigned(op.x.rows)), stream,
                 {.x = static_cast<const Bf16x8*>(op.x.data),
                  .weight = reinterpret_cast<const Float8*>(op.weight),
                  .out = static_cast<typename Kernel::Out*>(op.out.data),
                  .scale = op.out.scale,
                  .vectors = int(op.x.dim / 8),
                  .eps = op.eps});
}

template <Output kOutput, size_t... I>
bool start_first_that_fits(const RmsNorm& op, cudaStream_t stream, std::index_sequence<I...>) {
  return ((op.x.dim <= kConfigs[I].max_dim() && (start<kConfigs[I], kOutput>(op, stream), true)) ||
          ...);
}

}  // namespace

void rms_norm(const RmsNorm& op, cudaStream_t stream) {
  constexpr auto kAll = std::make_index_sequence<kConfigs.size()>();
  if (op.x.rows == 0) return;
  const bool started = op.out.quantized() ? start_first_that_fits<Output::kFp8>(op, stream, kAll)
                                          : start_first_that_fits<Output::kBf16>(op, stream, kAll);
  if (!started)
    fail("dim <= kConfigs.back().max_dim()", "rms_norm: the cuda backend takes rows of up to " +
                                                 std::to_string(kConfigs.back().max_dim()) +
                                                 ", got " + std::to_string(op.x.dim));
}

}  // namespace emberq::cuda
