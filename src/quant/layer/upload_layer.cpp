#include "quant/layer/upload_layer.h"

namespace emberq {
namespace {

Buffer upload_rounded(Backend& backend, const std::vector<double>& values) {
  if (values.empty()) return {};
  return upload(backend, std::vector<float>(values.begin(), values.end()));
}

}  // namespace

Weight upload_weight(Backend& backend, const F64Linear& linear) {
  return backend.prepare(Tensor::of(
      {linear.n, linear.k}, std::vector<float>(linear.weight.begin(), linear.weight.end())));
}

DecoderLayer layer_without_weights(Backend& backend, const ModelConfig& config,
                                   const F64Layer& block, int64_t index, int64_t down_hadamard) {
  DecoderLayer layer;
  layer.input_layernorm = upload_rounded(backend, block.input_layernorm);
  layer.post_attention_layernorm = upload_rounded(backend, block.post_attention_layernorm);
  layer.q_norm = upload_rounded(backend, block.q_norm);
  layer.k_norm = upload_rounded(backend, block.k_norm);
  for (const Projection module : kProjections)
    layer[module].bias = upload_rounded(backend, block[module].bias);
  layer.sliding_window = config.sliding_window[size_t(index)];
  layer.down_hadamard = down_hadamard;
  return layer;
}

DecoderLayer upload_layer(Backend& backend, const ModelConfig& config, const F64Layer& block,
                          int64_t index, int64_t down_hadamard) {
  DecoderLayer layer = layer_without_weights(backend, config, block, index, down_hadamard);
  for (const Projection module : kProjections)
    layer[module].weight = upload_weight(backend, block[module]);
  return layer;
}

}  // namespace emberq
