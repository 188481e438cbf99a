#pragma once

#include "ops/buffer.h"
#include "ops/cuda/runtime/stream.h"

namespace emberq::cuda {

// The codes of e4m3 or I8 activations as BF16 numbers, without their scales: exact. [rows, dim], of
// a multiple of 8.
Buffer codes_to_bf16(Backend& backend, const Activations& x, cudaStream_t stream);

}  // namespace emberq::cuda
