#include "ops/cuda/linear/dispatch.cuh"
#include "ops/cuda/linear/operand_bytes.cuh"

namespace emberq::cuda {

template <>
void linear_of<OperandFormat::kE4m3>(const LinearCall& call) {
  dispatch_linear<ByteOperand>(call);
}

}  // namespace emberq::cuda
