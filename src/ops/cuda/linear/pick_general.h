#pragma once

#include <cstdint>

#include "ops/linear.h"

// The choice among the general kernels. Nothing here needs a GPU.
namespace emberq::cuda {

inline constexpr int kStepInputs = 32;  // that an instruction, or two, multiply

enum class GeneralKernel {
  kFewTokens,
  kRagged,  // FewTokensKernel, with groups that end inside a step
  kManyTokens,
};

// `weight_group_size` is that of the scales beside the codes; k: one for a row, or none.
inline GeneralKernel pick_general(const Linear& op, int64_t weight_group_size) {
  // Above this many tokens weights are no longer read once for every eight.
  constexpr int64_t kFewTokens = 16;
  const int64_t k = op.x.dim;
  const auto is_ragged = [&](int64_t group) { return group < k && group % kStepInputs != 0; };
  if (is_ragged(weight_group_size) || is_ragged(op.x.group ? op.x.group : k))
    return GeneralKernel::kRagged;
  return op.out.rows <= kFewTokens ? GeneralKernel::kFewTokens : GeneralKernel::kManyTokens;
}

}  // namespace emberq::cuda
