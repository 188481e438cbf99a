#pragma once

#include <utility>

#include "ops/cuda/linear/kernel.cuh"
#include "ops/cuda/linear/linear.h"
#include "ops/cuda/runtime/launch.cuh"
#include "ops/cuda/runtime/tensor_map.h"

namespace emberq::cuda {

template <size_t kConfig, W4Codes kCodes, int kSets>
void start(const Linear& op, const W4Weight& weight, const Workspace& workspace,
           BatchInvariant invariant, cudaStream_t stream) {
  constexpr W4Config kC = kW4Configs[kConfig];
  using Kernel = W4LinearKernel<kC, kCodes, kSets>;
  // One block on a multiprocessor, though there may be room for the next kernel's.
  const int clusters = std::min(most_clusters<Kernel>(workspace.multiprocessors),
                                workspace.multiprocessors / kC.cluster);
  const device::W4Schedule cut =
      schedule(kC, op.x.rows, op.out.dim, weight.k_tiles, clusters, invariant);
  const auto epilogue = device::LinearEpilogue::of(op);
  launch<Kernel>(dim3(unsigned(cut.clusters), kC.cluster), stream,
                 {.x = map_rows(op.x, kC.tokens / kC.cluster),
                  .out = Kernel::kStoredTokens > 0 && epilogue.aligned()
                             ? map_halves(op.out, Kernel::kStoredTokens)
                             : CUtensorMap{},
                  .tiles = weight.tiles.as<uint8_t>(),
                  .row_blocks = int(weight.row_blocks),
                  .schedule = cut,
                  .table = weight.table,
                  .factor = weight.factor,
                  .partials = {workspace.partial.as<float>(), workspace.ready.as<int>()},
                  .epilogue = epilogue});
}

template <W4Codes kCodes, int kSets, size_t... I>
void start_picked(const Linear& op, const W4Weight& weight, const Workspace& workspace,
                  BatchInvariant invariant, cudaStream_t stream, std::index_sequence<I...>) {
  const size_t picked =
      pick(op.x.rows, op.out.dim, weight.k_tiles, workspace.multiprocessors, kCodes, invariant);
  const auto try_one = [&]<size_t kI>() {
    // Only what can be picked is built.
    if constexpr (may_pick(kW4Configs[kI], kCodes, BatchInvariant::kNo) ||
                  may_pick(kW4Configs[kI], kCodes, BatchInvariant::kYes))
      if (kI == picked) start<kI, kCodes, kSets>(op, weight, workspace, invariant, stream);
  };
  (try_one.template operator()<I>(), ...);
}

// The product with weights of one kind, built in a source file of its own for each.
template <W4Codes kCodes>
void linear_w4_of(const Linear& op, const W4Weight& weight, const Workspace& workspace,
                  BatchInvariant invariant, cudaStream_t stream) {
  constexpr auto kAll = std::make_index_sequence<kW4Configs.size()>();
  switch (weight.sets) {
    case 1:
      return start_picked<kCodes, 1>(op, weight, workspace, invariant, stream, kAll);
    case 2:
      return start_picked<kCodes, 2>(op, weight, workspace, invariant, stream, kAll);
    default:
      return start_picked<kCodes, 4>(op, weight, workspace, invariant, stream, kAll);
  }
}

}  // namespace emberq::cuda
