#include "ops/cuda/rows/row_config.h"
#include "ops/cuda/rows/rows.h"
#include "ops/cuda/runtime/launch.cuh"

namespace emberq::cuda {
namespace {

struct EmbedKernel {
  struct Args {
    const uint4* table;  // [vocabulary, vectors]
    const int32_t* ids;  // [tokens]
    uint4* out;          // [tokens, vectors]
    int64_t rows;        // of the table
    int vectors;         // of eight BF16, in a row
  };
  static constexpr int kThreads = 256;
  static constexpr int kMinBlocksPerSm = 8;

  static __device__ void run(const Args& a) {
    const int64_t token = blockIdx.x, id = a.ids[token];
    if (id < 0 || id >= a.rows) __trap();
    const int64_t from = id * a.vectors;
    for (int v = int(threadIdx.x); v < a.vectors; v += kThreads)
      a.out[token * a.vectors + v] = a.table[from + v];
  }
};

}  // namespace

void embed(const Embed& op, const void* table, cudaStream_t stream) {
  require_vectors("embed", op.out.dim);
  if (op.out.rows == 0) return;
  launch<EmbedKernel>(dim3(unsigned(op.out.rows)), stream,
                      {.table = static_cast<const uint4*>(table),
                       .ids = op.ids,
                       .out = static_cast<uint4*>(op.out.data),
                       .rows = op.table->n,
                       .vectors = int(op.out.dim / 8)});
}

}  // namespace emberq::cuda
