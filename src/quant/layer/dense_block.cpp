#include "quant/layer/dense_block.h"

namespace emberq {

void DenseLinear::scale_output(int64_t i, double factor) {
  for (int64_t j = 0; j < k; ++j) row(i)[j] *= factor;
  if (!bias.empty()) bias[size_t(i)] *= factor;
}

void DenseLinear::scale_input(int64_t j, double factor) {
  for (int64_t i = 0; i < n; ++i) row(i)[j] *= factor;
}

DenseBlock read_block(const Checkpoint& checkpoint, int64_t layer) {
  const ModelConfig& config = checkpoint.config();
  const auto vector = [&](std::string_view tensor, int64_t size) {
    return checkpoint.get(layer_tensor(layer, tensor), {size}).to_double();
  };
  DenseBlock block;
  block.input_layernorm = vector("input_layernorm.weight", config.hidden_size);
  block.post_attention_layernorm = vector("post_attention_layernorm.weight", config.hidden_size);
  if (config.qk_norm) {
    block.q_norm = vector("self_attn.q_norm.weight", config.head_dim);
    block.k_norm = vector("self_attn.k_norm.weight", config.head_dim);
  }
  for (const Module module : kModules) {
    const std::string name = linear_name(layer, module);
    DenseLinear& linear = block[module];
    linear.n = outputs(config, module);
    linear.k = inputs(config, module);
    linear.weight = checkpoint.get(name + ".weight", {linear.n, linear.k}).to_double();
    if (has_bias(config, module))
      linear.bias = checkpoint.get(name + ".bias", {linear.n}).to_double();
  }
  return block;
}

}  // namespace emberq
