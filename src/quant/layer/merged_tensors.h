#pragma once

#include <functional>
#include <string>
#include <vector>

#include "quant/layer/f64_layer.h"

namespace emberq {

// Values that a merge may have changed, as a checkpoint stores them: the original tensor where it
// holds just these, else F32, each value rounded once.
Tensor merged_tensor(const Tensor& original, const std::vector<double>& values);

// Calls `visit` with each of a block's parameters and its tensor's name, norms before linears.
void for_each_parameter(
    const F64Layer& block, int64_t layer,
    const std::function<void(const std::string& name, const std::vector<double>& values)>& visit);

}  // namespace emberq
