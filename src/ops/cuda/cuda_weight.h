#pragma once

#include <variant>

#include "ops/backend.h"
#include "ops/cuda/linear/linear.h"

namespace emberq::cuda {

// A weight that is not quantized: a table of embeddings.
struct UnquantizedWeight {
  Buffer values;  // [n, k] BF16
};

struct CudaWeight final : DeviceWeight {
  int64_t n = 0, k = 0;
  std::variant<CanonicalWeight, TiledWeight, UnquantizedWeight> data;
};
// Error for a weight that another backend has prepared.
const CudaWeight& cuda_weight(const Weight& weight);

// Rounds each element of an F32, F16 or BF16 tensor to BF16. Error for another type.
UnquantizedWeight upload_unquantized(Backend& backend, const Tensor& dense);
// InputError for a weight that no kernel of this backend multiplies.
CanonicalWeight upload_canonical(Backend& backend, const QuantizedWeight& weight);

}  // namespace emberq::cuda
