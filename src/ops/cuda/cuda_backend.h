#pragma once

#include <cuda_runtime_api.h>

#include "ops/linear.h"
#include "ops/rms_norm.h"

namespace emberq::cuda {

// One function per operation, each in the file of its name.
void rms_norm(const RmsNorm& op, cudaStream_t stream);
void linear_naive(const Linear& op, cudaStream_t stream);  // of a CanonicalWeight
struct Workspace;
// Of a W4Weight and e4m3 inputs.
void linear_w4(const Linear& op, const Workspace& workspace, cudaStream_t stream);

}  // namespace emberq::cuda
