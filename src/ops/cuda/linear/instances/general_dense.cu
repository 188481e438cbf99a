#include "ops/cuda/linear/general_dispatch.cuh"

namespace emberq::cuda {

void general_dense(const GeneralCall& call, const void* weight) {
  const int64_t k = call.op.x.dim;
  start_general<DenseSource>(call,
                             {.values = static_cast<const uint16_t*>(weight),
                              .k_tiles = int((k + kTileInputs - 1) / kTileInputs),
                              .n = int(call.op.out.dim),
                              .k = int(k)},
                             k);
}

}  // namespace emberq::cuda
