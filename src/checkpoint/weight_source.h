#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "checkpoint/emberq_config.h"
#include "checkpoint/model_config.h"
#include "tensor/quantized_weight.h"

namespace emberq {

// A linear in codes, and what it rounds its input to.
struct QuantizedLinear {
  QuantizedWeight weight;
  ActivationScheme input = ActivationScheme::kNone;
};

// What a model is loaded from: a checkpoint, or numbers made up for a benchmark. Tensors have the
// names that transformers gives them.
class WeightSource {
 public:
  virtual ~WeightSource() = default;

  virtual std::string where() const = 0;  // for messages
  virtual const ModelConfig& config() const = 0;
  virtual const EmberqConfig& emberq_config() const = 0;
  // Whether the output head is a tensor of its own, and not the embedding.
  virtual bool has_own_head() const = 0;
  // What the weights take in a device's memory at least; 0 where that is not known.
  virtual uint64_t least_device_bytes() const { return 0; }
  // Tensors whose names begin so will be asked for next.
  virtual void read_ahead(const std::string& /*prefix*/) const {}
  // A plain weight: F32, F16 or BF16, of this shape, without NaN or infinity; or an InputError.
  virtual Tensor get(const std::string& name, const std::vector<int64_t>& shape) const = 0;
  // The linear `module` ("model.layers.0.self_attn.q_proj") of n outputs and k inputs in codes,
  // with its group_size resolved; nullopt where it has a plain `weight`. InputError where the
  // tensors are not what the configuration says.
  virtual std::optional<QuantizedLinear> linear(const std::string& module, int64_t n,
                                                int64_t k) const = 0;
};

}  // namespace emberq
