#pragma once

#include "model/block_runner.h"
#include "quant/layer/dense_block.h"

namespace emberq {

// A block on the backend in F32, nothing rounded, `down_hadamard` as SideFile has it.
Layer dense_layer(Backend& backend, const ModelConfig& config, const DenseBlock& block,
                  int64_t index, int64_t down_hadamard);
// The same without its linears' weights.
Layer layer_without_weights(Backend& backend, const ModelConfig& config, const DenseBlock& block,
                            int64_t index, int64_t down_hadamard);
Weight dense_weight(Backend& backend, const DenseLinear& linear);

}  // namespace emberq
