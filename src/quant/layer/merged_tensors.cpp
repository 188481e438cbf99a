#include "quant/layer/merged_tensors.h"

#include "quant/layer/parameter_values.h"

namespace emberq {

Tensor merged_tensor(const Tensor& original, const std::vector<double>& values) {
  if (original.to_double() == values) return original;
  return Tensor::of(original.shape(), std::vector<float>(values.begin(), values.end()));
}

void for_each_parameter(
    const F64Layer& block, int64_t layer,
    const std::function<void(const Parameter& parameter, const std::string& name,
                             const std::vector<double>& values)>& visit) {
  for (const Parameter& parameter : layer_parameters()) {
    const std::vector<double>& values = parameter_values(block, parameter);
    if (!values.empty()) visit(parameter, layer_tensor(layer, parameter.name), values);
  }
}

}  // namespace emberq
