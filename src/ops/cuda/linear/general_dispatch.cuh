#pragma once

#include <algorithm>
#include <numeric>

#include "ops/cuda/linear/general_calls.h"
#include "ops/cuda/linear/general_few.cuh"
#include "ops/cuda/linear/general_many.cuh"
#include "ops/cuda/runtime/device.h"
#include "ops/cuda/runtime/launch.cuh"

namespace emberq::cuda {

inline unsigned blocks_of(int64_t count, int64_t size) {
  return unsigned((count + size - 1) / size);
}

// `weight_group_size` is that of the scales which the source gives; k: one for a row, or none.
template <class Source>
void start_general(const GeneralCall& call, const typename Source::Args& source,
                   int64_t weight_group_size) {
  const Linear& op = call.op;
  const int64_t k = op.x.dim, x_group_size = op.x.group ? op.x.group : k;
  const GeneralKernel kernel = pick_general(op, weight_group_size);
  // Products end with the groups of both: with the greatest common divisor of their sizes.
  int64_t group = 0;
  for (const int64_t size : {weight_group_size, x_group_size})
    if (size < k) group = std::gcd(group, size);
  const int64_t group_steps = group == 0 ? kTileSteps : group / kStepInputs;  // unless ragged
  const GeneralArgs<Source> args{.source = source,
                                 .x = static_cast<const uint8_t*>(call.x),
                                 .x_scale = op.x.scale,
                                 .rows = op.rows,
                                 .x_rows = op.x.rows,
                                 .k = int(k),
                                 .x_groups = int(op.x.scales_per_row()),
                                 .x_group_size = int(x_group_size),
                                 .weight_group_size = int(weight_group_size),
                                 .group_steps = int(group_steps),
                                 .out = LinearOutput::of(op)};
  const int64_t m = op.out.rows, n = op.out.dim;
  const auto few = [&]<bool kRagged>() {
    using Kernel = FewTokensKernel<Source, kRagged>;
    const unsigned tokens = blocks_of(m, Kernel::kTokens);
    const auto at_once = unsigned(max_active_clusters<Kernel>(multiprocessors()));
    const unsigned rows = std::clamp(at_once / tokens, 1u, blocks_of(n, 16));
    launch<Kernel>(dim3(tokens, rows), call.stream, args);
  };
  if (kernel == GeneralKernel::kRagged) return few.template operator()<true>();
  if (kernel == GeneralKernel::kFewTokens) return few.template operator()<false>();
  using Kernel = ManyTokensKernel<Source>;
  launch<Kernel>(dim3(blocks_of(m, Kernel::kTokens), blocks_of(n, 16 * Kernel::kWarps)),
                 call.stream, args);
}

}  // namespace emberq::cuda
