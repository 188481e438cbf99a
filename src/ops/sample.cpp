#include "ops/sample.h"

#include "base/check.h"

namespace emberq {

void check(const Sample& op) {
  EMBERQ_CHECK(op.logits.dtype == DType::kF32 && op.logits.dim > 0,
               "sample: logits are {} [{}, {}]", name(op.logits.dtype), op.logits.rows,
               op.logits.dim);
}

Cost cost(const Sample& op) {
  return {.flops = double(op.logits.rows * op.logits.dim),
          .bytes = double(op.logits.bytes()) +
                   double(op.logits.rows) * (sizeof(SampleRow) + sizeof(int32_t))};
}

}  // namespace emberq
