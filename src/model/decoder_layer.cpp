#include "model/decoder_layer.h"

#include <fmt/format.h>

#include <algorithm>

#include "model/parameters.h"

namespace emberq {

std::string_view name(Projection module) {
  const std::string_view weight = weight_of(module).name;
  return weight.substr(0, weight.rfind('.'));
}
std::string_view short_name(Projection module) {
  const std::string_view text = name(module);
  return text.substr(text.find('.') + 1);
}
int64_t outputs(const ModelConfig& config, Projection module) {
  return weight_of(module).rows(config);
}
int64_t inputs(const ModelConfig& config, Projection module) {
  return weight_of(module).columns(config);
}
bool has_bias(const ModelConfig& config, Projection module) {
  return bias_of(module).present(config);
}

LinearInput input_of(Projection module) { return *weight_of(module).site; }

std::span<const Projection> linears_reading(LinearInput site) {
  // Those that read one input stand together in kProjections.
  const auto first = std::ranges::find(kProjections, site, input_of);
  const auto last = std::find_if(first, kProjections.end(),
                                 [&](Projection module) { return input_of(module) != site; });
  return {first, last};
}

int64_t inputs(const ModelConfig& config, LinearInput site) {
  return inputs(config, linears_reading(site).front());
}

std::string layer_tensor(int64_t layer, std::string_view tensor) {
  return fmt::format("model.layers.{}.{}", layer, tensor);
}
std::string linear_name(int64_t layer, Projection module) {
  return layer_tensor(layer, name(module));
}

}  // namespace emberq
