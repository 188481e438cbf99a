// A CTA holds its row in registers from the one load to the one store, as in rms_norm.cu.
#include <array>

#include "format/scale.h"
#include "ops/cuda/ptx/cluster.cuh"
#include "ops/cuda/ptx/sync.cuh"
#include "ops/cuda/rows/reduce.cuh"
#include "ops/cuda/rows/row.cuh"
#include "ops/cuda/rows/row_config.h"
#include "ops/cuda/rows/rows.h"
#include "ops/cuda/runtime/launch.cuh"

namespace emberq::cuda {
namespace {

// The first configuration that holds a row runs it. rms_norm.cu says why a thread has four vectors.
// A multiprocessor has at most eight CTAs of 4096 columns. With more, CTAs of the next kernel would
// start between them and be spread unevenly.
constexpr std::array kConfigs = {
    RowConfig{.threads = 128, .vectors = 1, .min_blocks_per_sm = 8},                // dim <= 1024
    RowConfig{.threads = 128, .vectors = 4, .min_blocks_per_sm = 8},                // dim <= 4096
    RowConfig{.threads = 256, .vectors = 4, .min_blocks_per_sm = 4},                // dim <= 8192
    RowConfig{.threads = 448, .vectors = 4, .min_blocks_per_sm = 3},                // dim <= 14336
    RowConfig{.threads = 512, .vectors = 4, .min_blocks_per_sm = 2},                // dim <= 16384
    RowConfig{.threads = 512, .vectors = 4, .min_blocks_per_sm = 2, .cluster = 4},  // dim <= 65536
};

template <RowConfig C, Output kOutput>
struct PerTokenQuantizeKernel {
  struct Args {
    const Bf16x8* x;       // [rows, vectors]
    Stored<kOutput>* out;  // [rows, vectors]
    float* scale;          // [rows]
    int vectors;           // in a row
    int code_max;          // kI8
  };
  static constexpr int kThreads = C.threads;
  static constexpr int kMinBlocksPerSm = C.min_blocks_per_sm;
  static constexpr int kCluster = C.cluster;
  static constexpr bool kUsesPdl = true;

  // Block index y is the part of the row.
  static __device__ void run(const Args& a) {
    if constexpr (kCluster > 1) ptx::cluster_arrive();
    const int part = kCluster > 1 ? int(blockIdx.y) : 0;
    const Strided<kThreads, C.vectors> for_each_vector{part * kThreads * C.vectors, a.vectors};
    const int64_t r = blockIdx.x, begin = r * a.vectors;
    ptx::griddepcontrol_launch_dependents();
    ptx::griddepcontrol_wait();
    Bf16x8 row[C.vectors];
    visit_memory(for_each_vector, [&](int i, int v, bool inside) {
      row[i].raw = inside ? a.x[begin + v].raw : uint4{};
    });
    __nv_bfloat162 pair{};  // BF16 until the store, so that more rows fit in the registers
    for_each_vector([&](int i, int, bool) { pair = max_magnitude(row[i], pair); });
    float absmax = block_reduce<Max, kThreads>(fmaxf(float(pair.x), float(pair.y)));
    if constexpr (kCluster > 1) absmax = cluster_reduce<Max, kCluster>(absmax);
    const float scale = row_scale<kOutput>(absmax, a.code_max);
    if (part == 0 && threadIdx.x == 0) a.scale[r] = scale;
    store_row(for_each_vector, row, scale, a.code_max, a.out + begin);
  }
};

template <Output kOutput>
void start(const PerTokenQuantize& op, cudaStream_t stream) {
  dispatch_rows<kConfigs>("per_token_quantize", op.x.rows, op.x.dim, [&]<RowConfig C>() {
    launch<PerTokenQuantizeKernel<C, kOutput>>(dim3(unsigned(op.x.rows), C.cluster), stream,
                                               {.x = static_cast<const Bf16x8*>(op.x.data),
                                                .out = static_cast<Stored<kOutput>*>(op.out.data),
                                                .scale = op.out.scale,
                                                .vectors = int(op.x.dim / 8),
                                                .code_max = op.out.code_max});
  });
}

}  // namespace

RowConfig row_config(const PerTokenQuantize& op) {
  return kConfigs[pick_rows(kConfigs, op.x.rows, op.x.dim)];
}

void per_token_quantize(const PerTokenQuantize& op, cudaStream_t stream) {
  require_vectors("per_token_quantize", op.x.dim);
  if (op.x.rows == 0) return;
  op.out.dtype == DType::kI8 ? start<Output::kI8>(op, stream) : start<Output::kFp8>(op, stream);
}

}  // namespace emberq::cuda
