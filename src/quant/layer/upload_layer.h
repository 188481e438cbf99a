#pragma once

#include "model/layer_runner.h"
#include "quant/layer/f64_layer.h"

namespace emberq {

// A block on the backend in F32, nothing rounded, `down_hadamard` as EmberqConfig has it.
DecoderLayer upload_layer(Backend& backend, const ModelConfig& config, const F64Layer& block,
                          int64_t index, int64_t down_hadamard);
// The same without its linears' weights.
DecoderLayer layer_without_weights(Backend& backend, const ModelConfig& config,
                                   const F64Layer& block, int64_t index, int64_t down_hadamard);
Weight upload_weight(Backend& backend, const F64Linear& linear);

}  // namespace emberq
