#pragma once

#include <string>
#include <utility>
#include <vector>

#include "checkpoint/compressed_tensors/config.h"
#include "tensor/quantized_weight.h"

namespace emberq {

// The tensors of the linear `module`. weight.scheme is the one that quantization_config() is told,
// and storage_of() says which tensors it has.
std::vector<std::pair<std::string, Tensor>> quantized_tensors(const std::string& module,
                                                              const QuantizedWeight& weight);

}  // namespace emberq
