#include "ops/cuda/linear/linear.h"

#include <algorithm>

#include "ops/cuda/linear/gemm_config.h"

namespace emberq::cuda {

// linear/dispatch.cuh; one source file each.
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

void linear_w4(const Linear& op, const W4Weight& weight, const Workspace& workspace,
               BatchInvariant invariant, cudaStream_t stream) {
  if (op.x.rows == 0) return;
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
