#include "quant/layer/f64_layer.h"

namespace emberq {

void F64Linear::scale_output(int64_t i, double factor) {
  for (int64_t j = 0; j < k; ++j) row(i)[j] *= factor;
  if (!bias.empty()) bias[size_t(i)] *= factor;
}

void F64Linear::scale_input(int64_t j, double factor) {
  for (int64_t i = 0; i < n; ++i) row(i)[j] *= factor;
}

F64Layer read_block(const Checkpoint& checkpoint, int64_t layer) {
  const ModelConfig& config = checkpoint.config();
  const auto vector = [&](std::string_view tensor, int64_t size) {
    return checkpoint.get(layer_tensor(layer, tensor), {size}).to_double();
  };
  F64Layer block;
  block.input_layernorm = vector("input_layernorm.weight", config.hidden_size);
  block.post_attention_layernorm = vector("post_attention_layernorm.weight", config.hidden_size);
  if (config.qk_norm) {
    block.q_norm = vector("self_attn.q_norm.weight", config.head_dim);
    block.k_norm = vector("self_attn.k_norm.weight", config.head_dim);
  }
  for (const Projection module : kProjections) {
    const std::string name = linear_name(layer, module);
    F64Linear& linear = block[module];
    linear.n = outputs(config, module);
    linear.k = inputs(config, module);
    linear.weight = checkpoint.get(name + ".weight", {linear.n, linear.k}).to_double();
    if (has_bias(config, module))
      linear.bias = checkpoint.get(name + ".bias", {linear.n}).to_double();
  }
  return block;
}

}  // namespace emberq
