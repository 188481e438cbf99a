#pragma once

#include <cmath>
#include <numbers>

#include "ops/cuda/attention/split_kv.cuh"
#include "ops/cuda/attention/split_kv.h"

namespace emberq::cuda {

template <class Code, int kDim, int kColumnTiles>
void start_split_kv(const SplitKvCall& call) {
  using Kernel = SplitKvKernel<Code, kDim, kColumnTiles>;
  const Attention& op = call.op;
  const SplitKvPlan& plan = call.plan;
  // All that fit, whatever the lengths: a recorded launch is replayed with longer ones.
  const int ctas = max_active_clusters<Kernel>(call.workspace.multiprocessors);
  const int64_t slots = plan.invariant ? plan.units : 2 * ctas;
  call.workspace.reserve(slots * Kernel::kColumns * Kernel::kPartial, plan.tasks);
  launch<Kernel>(dim3(unsigned(ctas)), call.stream,
                 {.query = op.query.data,
                  .query_scale = op.query.scale,
                  .query_type = op.query.dtype,
                  .q_begin = op.batch.q_begin,
                  .kv_length = op.batch.kv_length,
                  .pages = op.batch.pages,
                  .sequences = int(op.batch.sequences()),
                  .max_pages = int(op.batch.max_pages),
                  .cache = op.cache,
                  .heads = int(op.heads()),
                  .window = int(op.window),
                  .scale = op.scale * std::numbers::log2e_v<float>,
                  .value_mean = op.value_mean,
                  .out = static_cast<__nv_bfloat16*>(op.out.data),
                  .partial = call.workspace.partial.as<float>(),
                  .arrived = call.workspace.arrived.as<int>(),
                  .tokens_of_task = plan.tokens_of_task,
                  .invariant = plan.invariant});
}

template <int kDim>
void split_kv_of(const SplitKvCall& call) {
  with_read(call.op.cache.scheme, [&]<class Code>(Code) {
    if constexpr (kDim < 256)  // of 256 channels a thread has no room for sums of two
      if (call.plan.column_tiles == 2) return start_split_kv<Code, kDim, 2>(call);
    start_split_kv<Code, kDim, 1>(call);
  });
}

}  // namespace emberq::cuda
