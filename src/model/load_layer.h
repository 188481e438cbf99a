#pragma once

#include "checkpoint/checkpoint.h"
#include "model/layer_runner.h"
#include "model/parameters.h"

namespace emberq {

// Block `index` of a checkpoint, with all that surrounds its cache.
DecoderLayer load_layer(const WeightSource& source, Backend& backend, int64_t index);

Buffer& norm_of(DecoderLayer& layer, Norm norm);  // input_layernorm, ...

// What surrounds the cache in a block, from entry `index` of the scheme's lists.
void set_attention(DecoderLayer& layer, Backend& backend, const ModelConfig& config,
                   const AttentionScheme& attention, int64_t index);

}  // namespace emberq
