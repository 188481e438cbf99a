#pragma once

#include "quant/dense_block.h"
#include "quant/recipe.h"

namespace emberq {

// Λ (fireq.md 2): a diagonal between two linears. Input channel j of the consumers is multiplied by
// λ_j = c / mean_i |W_ij|, so that all channels weigh about c and none sets its group's INT4 step
// alone; what produces channel j is divided by λ_j. The means run over the rows of all consumers; a
// channel of zeros keeps λ = 1. The function that the block computes stays the same.
void scale_qkv_inputs(DenseBlock& block, const ChannelScale& scale);      // into input_layernorm
void scale_up_gate_inputs(DenseBlock& block, const ChannelScale& scale);  // Λ2: into the other norm
void scale_down_inputs(DenseBlock& block, const ChannelScale& scale);  // Λ3: into up_proj's rows

// Λ1: into v_proj's rows. The query heads that share a KV head share its channels' λ, whose means
// run over all of them.
void scale_o_inputs(DenseBlock& block, const ModelConfig& config, const ChannelScale& scale);

// V times `factor` (its bias too), O divided by it.
void scale_values(DenseBlock& block, double factor);

}  // namespace emberq
