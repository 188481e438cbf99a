#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "checkpoint/model_config.h"

namespace emberq {

// Radians per position of each channel pair, [head_dim / 2], with the scaling that the checkpoint
// asks for.
std::vector<double> rope_frequencies(const RopeConfig& rope, int64_t head_dim);

// cos and sin of position * frequency for `tokens` positions from `position` on, each
// [tokens, head_dim / 2].
void rope_angles(std::span<const double> frequencies, int64_t position, int64_t tokens, float* cos,
                 float* sin);

}  // namespace emberq
