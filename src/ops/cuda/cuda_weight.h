#pragma once

#include <cuda_runtime_api.h>

#include <variant>

#include "ops/backend.h"
#include "ops/cuda/device/w4.cuh"
#include "ops/cuda/w4_plan.h"

namespace emberq::cuda {

// What is not quantized; tables of embeddings.
struct DenseWeight {
  Buffer values;  // [n, k] BF16
};

// Codes and scales as a checkpoint holds them, which the naive kernels read.
struct CanonicalWeight {
  WeightScheme scheme;  // four bits; group_size resolved
  float per_tensor_scale = 1;
  Buffer packed;  // [n, k / 8] words
  Buffer scale;   // [n, k / group_size] BF16
};

// Tiles in the order of device/w4.cuh. Those that a block of threads reads together follow each
// other: [rows / 128][k tiles][2]. What n and k lack of whole tiles has scales, or products, of
// zero.
struct W4Weight {
  int64_t row_blocks = 0, k_tiles = 0;
  int sets = 1;  // in a tile: 1, 2 or 4 for groups of 128 and more, 64 and 32
  W4Codes codes = W4Codes::kIntegers;
  device::W4Table table{};  // of kSigned
  float factor = 1;         // but of kSigned: what its sums are still to be multiplied by
  Buffer tiles;
};

struct CudaWeight {
  int64_t n = 0, k = 0;
  std::variant<CanonicalWeight, W4Weight, DenseWeight> form;
};
const CudaWeight& cuda_weight(const Weight& weight);

// F32, F16 or BF16, each element rounded to BF16; Error for another type.
DenseWeight upload_dense(Backend& backend, const Tensor& dense);
// InputError for a weight that no kernel here multiplies.
CanonicalWeight upload_canonical(Backend& backend, const QuantizedWeight& weight);
W4Weight repack(Backend& backend, const CanonicalWeight& canonical, int64_t n, int64_t k,
                cudaStream_t stream);

// Where blocks of threads that share a tile leave their parts of it; of one stream.
struct Workspace {
  Workspace(Backend& backend, int multiprocessors);

  int multiprocessors;
  Buffer partial;  // [multiprocessors][rows of a block][tokens of a tile] F32
  Buffer ready;    // [multiprocessors][consumers] I32, zeros between calls
};

}  // namespace emberq::cuda
