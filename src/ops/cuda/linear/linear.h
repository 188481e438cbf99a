#pragma once

#include <cuda_runtime_api.h>

#include "ops/buffer.h"
#include "ops/cuda/linear/gemm_config.h"
#include "ops/cuda/linear/operand_format.h"
#include "ops/linear.h"

namespace emberq::cuda {

// Codes and scales as a checkpoint holds them. The naive kernel reads them.
struct CanonicalWeight {
  WeightScheme scheme;  // group_size is resolved
  float global_scale = 1;
  DType scale_type = DType::kBF16;  // F32, F16 or BF16
  Buffer packed;                    // [n, packed_words(k)]
  Buffer scale;                     // [n, k / group_size]
  Buffer zero_point;                // [n, k / group_size] I8 where the scheme has them
};

// What LinearKernel multiplies: tiles in the order of tile_order.h, [rows / 128][k tiles][2]. The
// rows and inputs that fill the last tiles have scales, or products, of zero.
struct TiledWeight {
  OperandFormat format = OperandFormat::kInt4;
  OperandParams params;
  int groups = 1;  // of a tile
  int64_t row_blocks = 0, k_tiles = 0;
  Buffer tiles;
};
TiledWeight repack(Backend& backend, const CanonicalWeight& canonical, int64_t n, int64_t k,
                   cudaStream_t stream);

// The memory in which the CTAs of one linear at a time hand partial sums over.
struct Workspace {
  Workspace(Backend& backend, int multiprocessors);

  int multiprocessors;
  Buffer partial;  // [multiprocessors][rows of a CTA][tokens of a tile] F32
  Buffer flags;    // [multiprocessors][math warpgroups] I32, zeros between calls
};

// A linear beside others that read the same input (Backend::run_together), which so run at the same
// time; programmatic dependent launch alone would let each wait for the one before.
enum class LinearOrder {
  kAlone,
  kFirst,    // starts the next kernel when its input is complete
  kFollows,  // so need not wait for its input
};

struct LinearCall {
  const Linear& op;  // e4m3 inputs
  const TiledWeight& weight;
  const Workspace& workspace;
  BatchInvariant invariant;
  LinearOrder order;
  cudaStream_t stream;
};
void linear(const LinearCall& call);
// The definition, to compare with; also of BF16 weights, [n, k].
void linear_naive(const Linear& op, const CanonicalWeight& weight, cudaStream_t stream);
void linear_naive(const Linear& op, const void* weight, cudaStream_t stream);

}  // namespace emberq::cuda
