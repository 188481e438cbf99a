#pragma once

#include <cuda_runtime_api.h>

#include "ops/backend.h"

namespace emberq::cuda {

// The stream of a backend that make_cuda_backend() has made. Benchmarks put events and another
// library's work on it.
cudaStream_t stream_of(Backend& backend);

}  // namespace emberq::cuda
