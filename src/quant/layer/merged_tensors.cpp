#include "quant/layer/merged_tensors.h"

namespace emberq {

Tensor merged_tensor(const Tensor& original, const std::vector<double>& values) {
  if (original.to_double() == values) return original;
  return Tensor::of(original.shape(), std::vector<float>(values.begin(), values.end()));
}

void for_each_parameter(
    const F64Layer& block, int64_t layer,
    const std::function<void(const std::string& name, const std::vector<double>& values)>& visit) {
  const auto vector = [&](std::string_view tensor, const std::vector<double>& values) {
    if (!values.empty()) visit(layer_tensor(layer, tensor), values);
  };
  vector("input_layernorm.weight", block.input_layernorm);
  vector("post_attention_layernorm.weight", block.post_attention_layernorm);
  vector("self_attn.q_norm.weight", block.q_norm);
  vector("self_attn.k_norm.weight", block.k_norm);
  for (const Projection module : kProjections) {
    const std::string name = linear_name(layer, module);
    visit(name + ".weight", block[module].weight);
    if (!block[module].bias.empty()) visit(name + ".bias", block[module].bias);
  }
}

}  // namespace emberq
