#include "model/weight_size.h"

#include "model/decoder_layer.h"

namespace emberq {

int64_t linear_parameters(const ModelConfig& config) {
  int64_t parameters = 0;
  for (const Projection module : kProjections)
    parameters += outputs(config, module) * inputs(config, module);
  return config.num_layers * parameters;
}

double bits_per_weight(const Checkpoint& checkpoint) {
  const ModelConfig& config = checkpoint.config();
  size_t bytes = 0;
  for (int64_t layer = 0; layer < config.num_layers; ++layer)
    for (const Projection module : kProjections)
      for (const std::string_view suffix : kValueSuffixes) {
        const std::string name = linear_name(layer, module) + std::string(suffix);
        if (checkpoint.has(name)) bytes += checkpoint.stored(name).bytes.size();
      }
  return 8 * double(bytes) / double(linear_parameters(config));
}

}  // namespace emberq
