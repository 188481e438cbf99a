#pragma once

#include <cuda_runtime_api.h>

#include "ops/rms_norm.h"

namespace emberq::cuda {

// One function per operation, each in the file of its name.
void rms_norm(const RmsNorm& op, cudaStream_t stream);

}  // namespace emberq::cuda
