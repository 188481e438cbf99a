#include "ops/cuda/linear/dispatch.cuh"
#include "ops/cuda/linear/operand_e4m3.cuh"

namespace emberq::cuda {

template <>
void linear_of<OperandFormat::kInt4E4m3>(const LinearCall& call) {
  dispatch_linear<Int4E4m3Operand>(call);
}

}  // namespace emberq::cuda
