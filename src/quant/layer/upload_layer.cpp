#include "quant/layer/upload_layer.h"

#include "model/load_layer.h"
#include "quant/layer/parameter_values.h"

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
  for (const Parameter& parameter : layer_parameters()) {
    if (parameter.kind == ParameterKind::kWeight) continue;
    Buffer& buffer = parameter.kind == ParameterKind::kNorm ? norm_of(layer, parameter.norm)
                                                            : layer[parameter.module].bias;
    buffer = upload_rounded(backend, parameter_values(block, parameter));
  }
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
