#include "ops/cuda/attention/split_kv.h"

#include <algorithm>
#include <vector>

#include "ops/backend.h"

namespace emberq::cuda {

void SplitKvWorkspace::reserve(int64_t wanted_floats, int64_t wanted_tasks) {
  if (wanted_floats > floats) {
    floats = std::max(wanted_floats, 2 * floats);
    replaced.push_back(std::move(partial));
    partial = Buffer(backend, size_t(floats) * sizeof(float));
  }
  if (wanted_tasks > tasks) {
    tasks = std::max(wanted_tasks, 2 * tasks);
    replaced.push_back(std::move(arrived));
    arrived = upload(backend, std::vector<int>(size_t(tasks)));
  }
}

SplitKvPlan split_kv_plan(const Attention& op, bool invariant) {
  const int64_t group = op.heads() / op.cache.kv_heads;
  int64_t most = 1;
  for (const BatchSequence& s : op.batch.on_host) most = std::max(most, s.new_tokens);
  SplitKvPlan plan{.invariant = invariant};
  const bool one = op.cache.head_dim == 256 || (invariant ? group : group * most) <= 8;
  plan.column_tiles = one ? 1 : 2;
  plan.tokens_of_task = invariant ? 1 : int(std::max<int64_t>(1, 8 * plan.column_tiles / group));
  for (const BatchSequence& s : op.batch.on_host) {
    const auto sequence = SplitKvSequence::of(int(s.new_tokens), int(s.kv_length), int(op.window),
                                              plan.tokens_of_task, invariant);
    const int64_t tasks = op.cache.kv_heads * sequence.column_tiles;
    plan.tasks += tasks;
    plan.units += tasks * sequence.units;
  }
  return plan;
}

void attention_split_kv(const SplitKvCall& call) {
  switch (call.op.cache.head_dim) {
    case 64:
      return split_kv_of<64>(call);
    case 128:
      return split_kv_of<128>(call);
    default:
      return split_kv_of<256>(call);
  }
}

}  // namespace emberq::cuda
