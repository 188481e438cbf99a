#pragma once

#include <cuda_runtime_api.h>

#include "ops/backend.h"
#include "ops/cuda/linear/gemm_config.h"
#include "ops/cuda/linear/tile_order.h"
#include "ops/linear.h"

namespace emberq::cuda {

// Codes and scales as a checkpoint holds them, which the naive kernels read.
struct CanonicalWeight {
  WeightScheme scheme;  // four bits; group_size resolved
  float per_tensor_scale = 1;
  Buffer packed;  // [n, k / 8] words
  Buffer scale;   // [n, k / group_size] BF16
};

// Tiles in the order of linear/tile_order.h. Those that a block of threads reads together follow
// each other: [rows / 128][k tiles][2]. What n and k lack of whole tiles has scales, or products,
// of zero.
struct W4Weight {
  int64_t row_blocks = 0, k_tiles = 0;
  int sets = 1;  // in a tile: 1, 2 or 4 for groups of 128 and more, 64 and 32
  W4Codes codes = W4Codes::kIntegers;
  device::W4Table table{};  // of kSigned
  float factor = 1;         // but of kSigned: what its sums are still to be multiplied by
  Buffer tiles;
};
W4Weight repack(Backend& backend, const CanonicalWeight& canonical, int64_t n, int64_t k,
                cudaStream_t stream);

// Where blocks of threads that share a tile leave their parts of it; of one stream.
struct Workspace {
  Workspace(Backend& backend, int multiprocessors);

  int multiprocessors;
  Buffer partial;  // [multiprocessors][rows of a block][tokens of a tile] F32
  Buffer ready;    // [multiprocessors][consumers] I32, zeros between calls
};

void linear_naive(const Linear& op, const CanonicalWeight& weight, cudaStream_t stream);
// Of e4m3 inputs.
void linear_w4(const Linear& op, const W4Weight& weight, const Workspace& workspace,
               BatchInvariant invariant, cudaStream_t stream);

}  // namespace emberq::cuda
