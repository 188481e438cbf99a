#pragma once

#include <cuda_runtime_api.h>

#include "ops/argmax.h"
#include "ops/cross_entropy.h"
#include "ops/cuda/rows/row_config.h"
#include "ops/embed.h"
#include "ops/per_token_quantize.h"
#include "ops/rms_norm.h"
#include "ops/sample.h"
#include "ops/silu_and_mul.h"

namespace emberq::cuda {

// The operations on rows, each in the file of its name. PDL lets all except embed() and
// cross_entropy() start early. Codes have one scale for each row. rms_norm() and silu_and_mul()
// also write F32.
void embed(const Embed& op, const void* table, cudaStream_t stream);  // table: [n, dim] BF16
void rms_norm(const RmsNorm& op, cudaStream_t stream);
void per_token_quantize(const PerTokenQuantize& op, cudaStream_t stream);
void silu_and_mul(const SiluAndMul& op, cudaStream_t stream);
void cross_entropy(const CrossEntropy& op, cudaStream_t stream);  // F32 logits
void argmax(const Argmax& op, cudaStream_t stream);
inline constexpr int64_t kMaxSampled = (1 << 20) - 1;  // logits of a row
void sample(const Sample& op, cudaStream_t stream);

// How the kernels of these operations hold a row.
RowConfig row_config(const RmsNorm& op);
RowConfig row_config(const PerTokenQuantize& op);
RowConfig row_config(const SiluAndMul& op);

// Codes of x, F32 or BF16, with a scale for each row and group of `out`.
void quantize_groups(const Activations& x, const Activations& out, cudaStream_t stream);

}  // namespace emberq::cuda
