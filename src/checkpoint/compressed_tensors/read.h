#pragma once

#include <string>

#include "checkpoint/compressed_tensors/config.h"
#include "tensor/quantized_weight.h"

namespace emberq {

class Checkpoint;

// The linear `module` of n outputs and k inputs, stored as `group` says, with its group_size
// resolved. InputError where the tensors are not what the group says.
QuantizedWeight read_quantized_weight(const Checkpoint& checkpoint, const std::string& module,
                                      const QuantizationConfig::Group& group, int64_t n, int64_t k,
                                      float global_scale);

}  // namespace emberq
