#pragma once

#include <cuda_runtime_api.h>

#include "ops/cuda/w4_plan.h"
#include "ops/embed.h"
#include "ops/linear.h"
#include "ops/quantize_rows.h"
#include "ops/rms_norm.h"
#include "ops/silu_mul.h"

namespace emberq::cuda {

// One function per operation, each in the file of its name.
void embed(const Embed& op, cudaStream_t stream);  // of a DenseWeight
void rms_norm(const RmsNorm& op, cudaStream_t stream);
void quantize_rows(const QuantizeRows& op, cudaStream_t stream);  // to e4m3
void silu_mul(const SiluMul& op, cudaStream_t stream);
void linear_naive(const Linear& op, cudaStream_t stream);  // of a CanonicalWeight
struct Workspace;
// Of a W4Weight and e4m3 inputs.
void linear_w4(const Linear& op, const Workspace& workspace, BatchInvariant invariant,
               cudaStream_t stream);

}  // namespace emberq::cuda
