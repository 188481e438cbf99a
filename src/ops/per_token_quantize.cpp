#include "ops/per_token_quantize.h"

#include "base/check.h"

namespace emberq {

void check(const PerTokenQuantize& op) {
  EMBERQ_CHECK(op.x.rows == op.out.rows && op.x.dim == op.out.dim,
               "per_token_quantize: x is [{}, {}] but out is [{}, {}]", op.x.rows, op.x.dim,
               op.out.rows, op.out.dim);
  EMBERQ_CHECK(!op.x.quantized() && op.out.quantized(), "per_token_quantize: {} to {}",
               name(op.x.dtype), name(op.out.dtype));
  check(op.out, "per_token_quantize");
}

Cost cost(const PerTokenQuantize& op) {
  return {.flops = 2.0 * double(op.x.rows * op.x.dim),
          .bytes = double(op.x.bytes() + op.out.bytes())};
}

}  // namespace emberq
