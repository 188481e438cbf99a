#include "ops/cuda/linear/dispatch.cuh"
#include "ops/cuda/linear/operand_lut4.cuh"

namespace emberq::cuda {

template <>
void linear_of<OperandFormat::kLut4>(const LinearCall& call) {
  dispatch_linear<Lut4Operand>(call);
}

}  // namespace emberq::cuda
