#pragma once

#include <span>

#include "quant/layer/f64_layer.h"
#include "tensor/quantized_weight.h"

namespace emberq {

// Stored codes [n, k] (format/weight_code.h) and BF16 scales [n, groups] as a checkpoint holds
// them. `linear` says n and k.
QuantizedWeight pack(const F64Linear& linear, const WeightScheme& scheme,
                     std::span<const uint8_t> codes, std::span<const float> scales);

// The values of a quantized weight in float, [n, k], by the definition of
// tensor/quantized_weight.h.
std::vector<float> unpack(const QuantizedWeight& weight);

}  // namespace emberq
