#include "ops/cuda/cuda_weight.h"

#include "base/check.h"

namespace emberq::cuda {

const CudaWeight& cuda_weight(const Weight& weight) {
  return *static_cast<const CudaWeight*>(weight.impl.get());
}

CanonicalWeight upload_canonical(Backend& backend, const QuantizedWeight& weight) {
  CanonicalWeight result{.scheme = weight.scheme, .per_tensor_scale = weight.per_tensor_scale};
  int& group = result.scheme.group_size;
  if (group == 0) group = int(weight.k);
  const bool groups_fit = group == weight.k || group == 32 || group == 64 || group == 128;
  EMBERQ_REQUIRE(weight.scheme.bits == 4 && !weight.scheme.zero_point && groups_fit &&
                     weight.k % 32 == 0 && weight.scale.dtype() == DType::kBF16,
                 "the cuda backend multiplies four-bit weights without zero points, with BF16 "
                 "scales of 32, 64, 128 or all inputs, not {} of [{}, {}] with {} scales",
                 name(weight.scheme), weight.n, weight.k, name(weight.scale.dtype()));
  result.packed = upload(backend, weight.packed.bytes());
  result.scale = upload(backend, weight.scale.bytes());
  return result;
}

}  // namespace emberq::cuda
