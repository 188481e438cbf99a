#pragma once

#include <span>
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

// The parts' rows in the order of join_rows(). Rounds each element of F32, F16 or BF16 tensors to
// BF16. Error for another type.
UnquantizedWeight upload_unquantized(Backend& backend, std::span<const Tensor> parts,
                                     int64_t block);
// InputError for weights that no kernel of this backend multiplies.
CanonicalWeight upload_canonical(Backend& backend, std::span<const QuantizedWeight> parts,
                                 int64_t block);
// What a product with one token reads of a prepared weight.
size_t bytes_read(const CudaWeight& prepared, std::span<const QuantizedWeight> parts);
// Whether LinearKernel multiplies the weight, of k inputs, with e4m3 inputs.
bool has_operand(const CanonicalWeight& weight, int64_t k);

}  // namespace emberq::cuda
