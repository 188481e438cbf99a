#include "ops/cross_entropy.h"

#include "base/check.h"

namespace emberq {

void check(const CrossEntropy& op) {
  EMBERQ_CHECK(!op.logits.quantized() && op.logits.dim > 0, "cross_entropy: logits are {} [{}, {}]",
               name(op.logits.dtype), op.logits.rows, op.logits.dim);
}

Cost cost(const CrossEntropy& op) {
  return {.flops = 4.0 * double(op.logits.rows * op.logits.dim),
          .bytes = double(op.logits.bytes()) + 8.0 * double(op.logits.rows)};
}

}  // namespace emberq
