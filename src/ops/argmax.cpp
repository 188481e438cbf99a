#include "ops/argmax.h"

#include "base/check.h"

namespace emberq {

void check(const Argmax& op) {
  EMBERQ_CHECK(op.logits.dtype == DType::kF32 && op.logits.dim > 0,
               "argmax: logits are {} [{}, {}]", name(op.logits.dtype), op.logits.rows,
               op.logits.dim);
}

Cost cost(const Argmax& op) {
  return {.flops = double(op.logits.rows * op.logits.dim),
          .bytes = double(op.logits.bytes()) + double(op.logits.rows) * sizeof(int32_t)};
}

}  // namespace emberq
