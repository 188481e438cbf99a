#pragma once

#include <functional>
#include <string>
#include <vector>

#include "model/parameters.h"
#include "quant/layer/f64_layer.h"

namespace emberq {

// Values that a merge may have changed, as a checkpoint stores them: the original tensor where it
// holds just these, else F32, each value rounded once.
Tensor merged_tensor(const Tensor& original, const std::vector<double>& values);

// Calls `visit` with each parameter that a block has, in the order of layer_parameters(), and with
// its tensor's name.
void for_each_parameter(
    const F64Layer& block, int64_t layer,
    const std::function<void(const Parameter& parameter, const std::string& name,
                             const std::vector<double>& values)>& visit);

}  // namespace emberq
