#pragma once

#include <variant>

#include "ops/backend.h"
#include "ops/cuda/linear/general.h"

namespace emberq::cuda {

// A weight that is not quantized.
struct UnquantizedWeight {
  Buffer values;  // [n, k] BF16
};

struct CudaWeight final : DeviceWeight {
  int64_t n = 0, k = 0;
  std::variant<CanonicalWeight, TiledWeight, ByteWeight, UnquantizedWeight> data;
};
// Error for a weight that another backend has prepared.
const CudaWeight& cuda_weight(const Weight& weight);

// Rounds each element of an F32, F16 or BF16 tensor to BF16. Error for another type.
UnquantizedWeight upload_unquantized(Backend& backend, const Tensor& dense);
// InputError for a weight that no kernel of this backend multiplies.
CanonicalWeight upload_canonical(Backend& backend, const QuantizedWeight& weight);
// What a product with one token reads of a prepared weight.
size_t bytes_read(const CudaWeight& prepared, const QuantizedWeight& weight);
// Whether LinearKernel multiplies the weight, of k inputs, with e4m3 inputs.
bool has_operand(const CanonicalWeight& weight, int64_t k);

}  // namespace emberq::cuda
