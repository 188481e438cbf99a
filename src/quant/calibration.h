#pragma once

#include <span>
#include <vector>

#include "model/model.h"

namespace emberq {

// What one layer's keys reached over the calibration text, after RoPE and before any scale.
struct KeyStatistics {
  int64_t kv_heads = 0, head_dim = 0;
  std::vector<float> channel_absmax;  // [kv_heads, head_dim]: max_t |k[c]|
  std::vector<float> pair_radius;  // [kv_heads, head_dim / 2]: max_t sqrt(k[j]^2 + k[j + d/2]^2),
                                   // which the rotation leaves as it was before
};

// Runs `windows` consecutive windows of `length` tokens, each alone and with no BOS, through a
// model whose cache keeps keys as computed (KvScheme::kFp) and reads them there. InputError where
// there are fewer tokens.
std::vector<KeyStatistics> collect_key_statistics(Model& model, std::span<const int> ids,
                                                  int64_t windows, int64_t length);

}  // namespace emberq
