#pragma once

#include <array>
#include <optional>

#include "quant/calibration/calibration.h"
#include "quant/layer/f64_layer.h"
#include "quant/recipe/recipe.h"

namespace emberq {

// λ of a site: input channel j of the linears that read it is multiplied by λ_j and what produces
// channel j is divided by it, so the block computes the same. Producers: the norms of q|k|v and of
// gate|up, v_proj's rows for o_proj, up_proj's rows for down_proj. The query heads that share a KV
// head share the λ of its channels: at LinearInput::kAttentionOut there is one per channel of
// v_proj.
std::vector<double> channel_scales(const F64Layer& block, const ModelConfig& config,
                                   LinearInput site, const ChannelScale& scale,
                                   const LinearInputStatistics& inputs,
                                   const ModuleSchemes& schemes);
void fold_channel_scales(F64Layer& block, const ModelConfig& config, LinearInput site,
                         const std::vector<double>& lambda);

// V times `factor` (its bias too), O divided by it.
void scale_values(F64Layer& block, double factor);

}  // namespace emberq
