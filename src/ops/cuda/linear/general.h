#pragma once

#include "ops/cuda/linear/linear.h"

// The linear of every weight and input that LinearKernel does not multiply (general_product.cuh).
namespace emberq::cuda {

enum class ByteCode {
  kInteger,  // two's complement, zero points subtracted
  kE4m3,     // an e4m3 number
};

// Weights with a byte for each code, whatever the scheme: tiles in the order of tile_order.h
// (ByteCodes) without data of groups, [rows / 128][k tiles][2]. The rows and inputs that fill the
// last tiles are zeros.
struct ByteWeight {
  ByteCode code = ByteCode::kInteger;
  int64_t group_size = 0;  // resolved
  int64_t row_blocks = 0, k_tiles = 0;
  Buffer tiles;
  Buffer scale;  // [rows / 16][k / group_size][16] F32
};
ByteWeight to_bytes(Backend& backend, const CanonicalWeight& canonical, int64_t n, int64_t k,
                    cudaStream_t stream);

// Whether products with integer inputs are of integers.
inline bool has_integers(const ByteWeight& weight) { return weight.code == ByteCode::kInteger; }
inline bool has_integers(const TiledWeight& weight) {
  return weight.format == OperandFormat::kInt4;
}

// Any input, any output, all or chosen rows. k is a multiple of 8. A row's bits depend on that row
// only.
void linear_general(Backend& backend, const Linear& op, const ByteWeight& weight,
                    cudaStream_t stream);
void linear_general(Backend& backend, const Linear& op, const TiledWeight& weight,
                    cudaStream_t stream);
// BF16 weights, [n, k].
void linear_general(Backend& backend, const Linear& op, const void* weight, cudaStream_t stream);

}  // namespace emberq::cuda
