#include <algorithm>

#include "ops/cuda/cuda_backend.h"
#include "ops/cuda/cuda_weight.h"
#include "ops/cuda/w4_plan.h"

namespace emberq::cuda {

// linear_w4_form.cuh; one source file each.
template <W4Codes kCodes>
void linear_w4_of(const Linear& op, const W4Weight& weight, const Workspace& workspace,
                  BatchInvariant invariant, cudaStream_t stream);

Workspace::Workspace(Backend& backend, int count) : multiprocessors(count) {
  int tokens = 0;
  for (const W4Config& config : kW4Configs) tokens = std::max(tokens, config.tokens);
  const auto rows = size_t(count) * W4Config::kRows;
  partial = Buffer(backend, rows * size_t(tokens) * sizeof(float));
  int consumers = 0;
  for (const W4Config& config : kW4Configs)
    consumers = std::max(consumers, W4Config::kRows / device::kW4Rows * config.split);
  ready = upload(backend, std::vector<int>(size_t(count) * size_t(consumers)));
}

void linear_w4(const Linear& op, const Workspace& workspace, BatchInvariant invariant,
               cudaStream_t stream) {
  if (op.x.rows == 0) return;
  const auto& weight = std::get<W4Weight>(cuda_weight(*op.weight).form);
  switch (weight.codes) {
    case W4Codes::kSigned:
      return linear_w4_of<W4Codes::kSigned>(op, weight, workspace, invariant, stream);
    case W4Codes::kIntegers:
      return linear_w4_of<W4Codes::kIntegers>(op, weight, workspace, invariant, stream);
    case W4Codes::kSignedProducts:
      return linear_w4_of<W4Codes::kSignedProducts>(op, weight, workspace, invariant, stream);
    case W4Codes::kIntProducts:
      return linear_w4_of<W4Codes::kIntProducts>(op, weight, workspace, invariant, stream);
  }
}

}  // namespace emberq::cuda
