#include "quant/layer/f64_layer.h"

#include "quant/layer/parameter_values.h"

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
  F64Layer block;
  for (const Parameter& parameter : layer_parameters()) {
    if (!parameter.present(config)) continue;
    const std::vector<int64_t> shape = parameter.shape(config);
    if (parameter.kind == ParameterKind::kWeight) {
      block[parameter.module].n = shape[0];
      block[parameter.module].k = shape[1];
    }
    parameter_values(block, parameter) =
        checkpoint.get(layer_tensor(layer, parameter.name), shape).to_double();
  }
  return block;
}

}  // namespace emberq
