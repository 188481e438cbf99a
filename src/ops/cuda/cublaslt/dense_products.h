#pragma once

#include <memory>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include "ops/cuda/cublaslt/cublaslt.h"
#include "ops/linear.h"

namespace emberq::cuda {

// Products of BF16 weights by cuBLASLt where it is installed. A plan of each shape is kept.
class DenseProducts {
 public:
  DenseProducts(Backend& backend, cudaStream_t stream) : backend_(&backend), stream_(stream) {}

  // Why the operation is left to the kernels of this project: there are at most kFewTokens tokens,
  // which they multiply at the speed of memory; quantized inputs or a bias; or no library. Empty
  // where it is not.
  std::string_view obstacle(const Linear& op);
  // Of an operation without an obstacle. False if the library refuses it after all.
  bool run(const Linear& op, const void* weight);

 private:
  static constexpr int64_t kFewTokens = 8;

  CublasLtProduct* product(const CublasLtShape& shape);

  Backend* backend_;
  cudaStream_t stream_;
  std::optional<CublasLt> library_;  // opened for the first product
  std::vector<std::pair<CublasLtShape, std::unique_ptr<CublasLtProduct>>> products_;
};

}  // namespace emberq::cuda
