#include <variant>

#include "ops/cuda/cuda_backend.h"
#include "ops/cuda/cuda_weight.h"
#include "ops/cuda/launch.cuh"
#include "ops/cuda/row_config.cuh"

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
  static constexpr int kBlocks = 8;

  static __device__ void run(const Args& a) {
    const int64_t token = blockIdx.x, id = a.ids[token];
    if (id < 0 || id >= a.rows) __trap();
    const int64_t from = id * a.vectors;
    for (int v = int(threadIdx.x); v < a.vectors; v += kThreads)
      a.out[token * a.vectors + v] = a.table[from + v];
  }
};

}  // namespace

void embed(const Embed& op, cudaStream_t stream) {
  require_vectors("embed", op.out.dim);
  if (op.out.rows == 0) return;
  const auto& table = std::get<DenseWeight>(cuda_weight(*op.table).form);
  launch<EmbedKernel>(dim3(unsigned(op.out.rows)), stream,
                      {.table = table.values.as<uint4>(),
                       .ids = op.ids,
                       .out = static_cast<uint4*>(op.out.data),
                       .rows = op.table->n,
                       .vectors = int(op.out.dim / 8)});
}

}  // namespace emberq::cuda
