#pragma once

#include <variant>

#include "ops/backend.h"
#include "ops/cuda/linear/linear.h"

namespace emberq::cuda {

// What is not quantized; tables of embeddings.
struct DenseWeight {
  Buffer values;  // [n, k] BF16
};

struct CudaWeight {
  int64_t n = 0, k = 0;
  std::variant<CanonicalWeight, TiledWeight, DenseWeight> form;
};
const CudaWeight& cuda_weight(const Weight& weight);

// F32, F16 or BF16, each element rounded to BF16; Error for another type.
DenseWeight upload_dense(Backend& backend, const Tensor& dense);
// InputError for a weight that no kernel here multiplies.
CanonicalWeight upload_canonical(Backend& backend, const QuantizedWeight& weight);

}  // namespace emberq::cuda
