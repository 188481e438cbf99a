#pragma once

#include <cstdint>

#include "checkpoint/checkpoint.h"

namespace emberq {

int64_t linear_parameters(const ModelConfig& config);  // weights of the decoder layers' linears

// What a weight of those linears takes in the files, its share of scales and zero points included.
double bits_per_weight(const Checkpoint& checkpoint);

}  // namespace emberq
