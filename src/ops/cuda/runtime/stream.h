#pragma once

#include <cuda_runtime_api.h>

#include "ops/backend.h"

namespace emberq::cuda {

// Where a backend that make_cuda_backend has made puts its work: for measuring, which puts events
// and another library's work between.
cudaStream_t stream_of(Backend& backend);

}  // namespace emberq::cuda
