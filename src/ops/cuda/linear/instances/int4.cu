#include "ops/cuda/linear/dispatch.cuh"
#include "ops/cuda/linear/operand_int4.cuh"

namespace emberq::cuda {

template <>
void linear_of<OperandFormat::kInt4>(const LinearCall& call) {
  dispatch_linear<Int4Operand>(call);
}

}  // namespace emberq::cuda
