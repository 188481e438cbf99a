#include "ops/cuda/linear/dispatch.cuh"

namespace emberq::cuda {

template void linear_w4_of<W4Codes::kIntegers>(const Linear&, const W4Weight&, const Workspace&,
                                               BatchInvariant, cudaStream_t);

}  // namespace emberq::cuda
