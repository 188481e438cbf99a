// One block per row. The row is read once and kept in registers through both reductions, so the
// kernel moves exactly the bytes that cost() counts.
#include <cuda_fp8.h>

#include <array>
#include <string>
#include <utility>

#include "format/bf16.h"
#include "format/scale.h"
#include "ops/cuda/cuda_backend.h"
#include "ops/cuda/device/reduce.cuh"
#include "ops/cuda/launch.cuh"

namespace emberq::cuda {
namespace {

struct RmsNormConfig {
  int threads;
  int vectors;  // of 8 elements, 16 bytes of BF16, that each thread keeps in registers
  constexpr int max_dim() const { return threads * vectors * 8; }
};

// Every configuration that is compiled, smallest first; the first that holds a row runs it.
constexpr std::array kConfigs = {
    RmsNormConfig{.threads = 128, .vectors = 1},  // dim <= 1024
    RmsNormConfig{.threads = 256, .vectors = 2},  // dim <= 4096
    RmsNormConfig{.threads = 256, .vectors = 4},  // dim <= 8192
    RmsNormConfig{.threads = 512, .vectors = 4},  // dim <= 16384
};

union alignas(16) Vector {  // of BF16, the widest load
  uint4 raw;
  bf16 e[8];
};
union alignas(8) Codes {  // of e4m3
  uint2 raw;
  __nv_fp8x2_storage_t pair[4];
};
union alignas(16) Floats {
  float4 raw[2];
  float e[8];
};

// y / scale, rounded as the division is, which format/scale.h asks for, in three operations instead
// of some twenty: one correction of y * (1 / scale) by its exact remainder is correctly rounded
// where 1 / scale is and nothing underflows (Markstein 1990). Scales near the ends of the range,
// where something might, divide.
class RowQuotient {
 public:
  explicit __device__ RowQuotient(float scale)
      : scale_(scale), reciprocal_(1 / scale), divides_(scale < 0x1p-90f || scale > 0x1p90f) {}

  __device__ float operator()(float y) const {
    if (divides_) return y / scale_;
    const float q = y * reciprocal_;
    return fmaf(fmaf(-q, scale_, y), reciprocal_, q);
  }

 private:
  float scale_, reciprocal_;
  bool divides_;  // the same in the whole block
};

enum class Output { kBf16, kFp8 };

template <RmsNormConfig C, Output kOutput>
struct RmsNormKernel {
  struct Args {
    const Vector* x;       // [rows, vectors]
    const Floats* weight;  // [vectors]
    void* out;             // [rows, vectors] of Vector or Codes
    float* scale;          // [rows], kFp8
    int vectors;           // in a row
    float eps;
  };
  static constexpr int kThreads = C.threads;

  static __device__ void run(const Args& a) {
    const Vector* x = a.x + int64_t(blockIdx.x) * a.vectors;
    const auto index = [&](int i) { return int(threadIdx.x) + i * kThreads; };

    float row[C.vectors][8];
    float sum = 0;
#pragma unroll
    for (int i = 0; i < C.vectors; ++i) {
      const Vector loaded{.raw = index(i) < a.vectors ? x[index(i)].raw : uint4{}};
#pragma unroll
      for (int j = 0; j < 8; ++j) {
        row[i][j] = loaded.e[j].to_float();
        sum += row[i][j] * row[i][j];
      }
    }
    const float mean = device::block_reduce<device::Sum, kThreads>(sum) / float(a.vectors * 8);
    const float inverse = rsqrtf(mean + a.eps);

    float absmax = 0;
#pragma unroll
    for (int i = 0; i < C.vectors; ++i) {
      if (index(i) >= a.vectors) continue;
      const Floats weight{.raw = {a.weight[index(i)].raw[0], a.weight[index(i)].raw[1]}};
#pragma unroll
      for (int j = 0; j < 8; ++j) {
        row[i][j] *= inverse * weight.e[j];
        absmax = fmaxf(absmax, fabsf(row[i][j]));
      }
    }

    if constexpr (kOutput == Output::kBf16) {
      Vector* out = static_cast<Vector*>(a.out) + int64_t(blockIdx.x) * a.vectors;
#pragma unroll
      for (int i = 0; i < C.vectors; ++i) {
        Vector result;
#pragma unroll
        for (int j = 0; j < 8; ++j) result.e[j] = bf16::from_float(row[i][j]);
        if (index(i) < a.vectors) out[index(i)].raw = result.raw;
      }
    } else {
      const float scale = fp8_row_scale(device::block_reduce<device::Max, kThreads>(absmax));
      const RowQuotient quotient(scale);
      if (threadIdx.x == 0) a.scale[blockIdx.x] = scale;
      Codes* out = static_cast<Codes*>(a.out) + int64_t(blockIdx.x) * a.vectors;
#pragma unroll
      for (int i = 0; i < C.vectors; ++i) {
        Codes result;
#pragma unroll
        for (int j = 0; j < 8; j += 2)
          result.pair[j / 2] = __nv_cvt_float2_to_fp8x2(
              {quotient(row[i][j]), quotient(row[i][j + 1])}, __NV_SATFINITE, __NV_E4M3);
        if (index(i) < a.vectors) out[index(i)].raw = result.raw;
      }
    }
  }
};

template <RmsNormConfig C>
void start(const RmsNorm& op, cudaStream_t stream) {
  const auto run = [&]<Output kOutput>() {
    launch<RmsNormKernel<C, kOutput>>(dim3(unsigned(op.x.rows)), stream,
                                      {.x = static_cast<const Vector*>(op.x.data),
                                       .weight = reinterpret_cast<const Floats*>(op.weight),
                                       .out = op.out.data,
                                       .scale = op.out.scale,
                                       .vectors = int(op.x.dim / 8),
                                       .eps = op.eps});
  };
  if (op.out.quantized())
    run.template operator()<Output::kFp8>();
  else
    run.template operator()<Output::kBf16>();
}

template <size_t... I>
void pick(const RmsNorm& op, cudaStream_t stream, std::index_sequence<I...>) {
  const bool found =
      ((op.x.dim <= kConfigs[I].max_dim() && (start<kConfigs[I]>(op, stream), true)) || ...);
  if (!found)
    fail("dim <= kConfigs.back().max_dim()", "rms_norm: rows of " + std::to_string(op.x.dim) +
                                                 " are longer than the cuda backend's " +
                                                 std::to_string(kConfigs.back().max_dim()));
}

}  // namespace

void rms_norm(const RmsNorm& op, cudaStream_t stream) {
  if (op.x.rows > 0) pick(op, stream, std::make_index_sequence<kConfigs.size()>());
}

}  // namespace emberq::cuda
