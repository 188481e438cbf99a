#include "ops/cuda/rows/row_config.h"

#include "base/check.h"

namespace emberq::cuda {

void require_vectors(std::string_view operation, int64_t dim) {
  EMBERQ_CHECK(dim > 0 && dim % 8 == 0, "{}: the cuda backend takes rows of multiples of 8, got {}",
               operation, dim);
}

void require_max_dim(std::string_view operation, int64_t dim, int64_t max_dim) {
  EMBERQ_CHECK(dim <= max_dim, "{}: the cuda backend takes rows of up to {}, got {}", operation,
               max_dim, dim);
}

void require_hadamard(std::string_view operation, int64_t size) {
  EMBERQ_CHECK(size <= kLargestHadamard,
               "{}: the cuda backend transforms blocks of up to {}, got {}", operation,
               kLargestHadamard, size);
}

}  // namespace emberq::cuda
