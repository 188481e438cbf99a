#pragma once

#include <array>
#include <string>
#include <vector>

#include "quant/calibration/calibration.h"
#include "quant/layer/f64_layer.h"
#include "tensor/quantized_weight.h"

namespace emberq {

// What calibration saw on the way, for reports. 0 where it was not measured.
struct LinearResult {
  Projection module;
  std::string scheme, activation;
  double bits = 0;            // scales included
  double sqnr_db = 0;         // of the weight, against the transformed one
  double output_sqnr_db = 0;  // of its output over the calibration inputs
  double input_rms = 0;
};
struct LayerResult {
  std::vector<LinearResult> linears;
  std::array<float, kLinearInputs.size()> input_absmax = {};  // of the original, by LinearInput
  // Of the original, and as its cache would be given them: after N and S, less their mean, rotated.
  // Empty where not looked at.
  KeyStatistics keys, smoothed_keys;
  // |x - x̂| / |x| of the residual stream before the block, after its attention and after it, over
  // the calibration tokens.
  double error_before = 0, error_attention = 0, error_after = 0;
  double error_cache = 0;  // the part of error_attention that the cache makes
};

// `gram` (LinearInputStatistics) is of the linear's inputs; without it the output and the inputs
// are not measured.
LinearResult report_linear(Projection module, const F64Linear& dense, const QuantizedWeight& weight,
                           ActivationScheme activation, const std::vector<double>& gram,
                           int64_t tokens);

}  // namespace emberq
