#pragma once

#include <utility>

#include "ops/cuda/linear/kernel.cuh"
#include "ops/cuda/linear/linear.h"
#include "ops/cuda/linear/slices.cuh"
#include "ops/cuda/runtime/launch.cuh"
#include "ops/cuda/runtime/tensor_map.h"

namespace emberq::cuda {

template <GemmConfig C, class Operand>
void launch_linear(const LinearCall& call) {
  using Kernel = LinearKernel<C, Operand>;
  const auto& [op, weight, workspace, invariant, order, stream] = call;
  // At most one CTA of this kernel on a multiprocessor: the rest of the room is the next kernel's.
  const int clusters = std::min(max_active_clusters<Kernel>(workspace.multiprocessors),
                                workspace.multiprocessors / C.cluster);
  const TileScheduler scheduler =
      make_tile_scheduler(C, op.x.rows, op.out.dim, weight.k_tiles, clusters, invariant);
  const auto epilogue = LinearEpilogue::of(op);
  launch<Kernel>(dim3(unsigned(scheduler.clusters), C.cluster), stream,
                 {.x = e4m3_tensor_map(op.x, C.tokens / C.cluster),
                  .out = Kernel::kStoredTokens > 0 && epilogue.aligned()
                             ? half_tensor_map(op.out, Kernel::kStoredTokens)
                             : CUtensorMap{},
                  .tiles = weight.tiles.as<uint8_t>(),
                  .row_blocks = int(weight.row_blocks),
                  .scheduler = scheduler,
                  .operand = weight.params,
                  .partials = {workspace.partial.as<float>(), workspace.flags.as<int>()},
                  .epilogue = epilogue,
                  .start = {order}});
}

// Launches the kernel of the picked configuration and of the weight's groups. Only configurations
// that can be picked are compiled.
template <template <GemmConfig, int> class Operand>
void dispatch_linear(const LinearCall& call) {
  constexpr OperandFormat kFormat = Operand<kGemmConfigs[0], 1>::kFormat;
  const TiledPick pick = pick_tiled(call.op.x.rows, call.op.out.dim, call.weight.k_tiles,
                                    call.workspace.multiprocessors, kFormat, call.invariant);
  if (pick.slice_tokens > 0) {
    const auto start = [&]<int kGroups>() {
      if (kGroups != call.weight.groups) return;
      pick.slice_tokens == 8 ? launch_slices<Operand, kGroups, 8>(call)
                             : launch_slices<Operand, kGroups, 16>(call);
    };
    start.template operator()<1>(), start.template operator()<2>(), start.template operator()<4>();
    return;
  }
  const auto try_config = [&]<size_t kIndex, int kGroups>() {
    constexpr GemmConfig kConfig = kGemmConfigs[kIndex];
    if constexpr (is_candidate(kConfig, kFormat, BatchInvariant::kNo) ||
                  is_candidate(kConfig, kFormat, BatchInvariant::kYes))
      if (kIndex == pick.config && kGroups == call.weight.groups)
        launch_linear<kConfig, Operand<kConfig, kGroups>>(call);
  };
  [&]<size_t... kIndex>(std::index_sequence<kIndex...>) {
    ((try_config.template operator()<kIndex, 1>(), try_config.template operator()<kIndex, 2>(),
      try_config.template operator()<kIndex, 4>()),
     ...);
  }
  (std::make_index_sequence<kGemmConfigs.size()>());
}

// Defined in instances/, one source file for each format, so that they compile in parallel.
template <OperandFormat kFormat>
void linear_of(const LinearCall& call);

}  // namespace emberq::cuda
