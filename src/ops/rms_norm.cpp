#include "ops/rms_norm.h"

#include "base/check.h"

namespace emberq {

void check(const RmsNorm& op) {
  EMBERQ_CHECK(op.x.rows == op.out.rows && op.x.dim == op.out.dim,
               "rms_norm: x is [{}, {}] but out is [{}, {}]", op.x.rows, op.x.dim, op.out.rows,
               op.out.dim);
  EMBERQ_CHECK(op.x.dim > 0 && op.x.dim % 8 == 0, "rms_norm: dim must be a multiple of 8, got {}",
               op.x.dim);
  check(op.out, "rms_norm");
  EMBERQ_CHECK(!op.x.quantized(), "rms_norm: x may not be quantized");
}

Cost cost(const RmsNorm& op) {
  return {.flops = (op.out.quantized() ? 6.0 : 4.0) * double(op.x.rows * op.x.dim),
          .bytes = double(op.x.bytes() + op.out.bytes()) + 4.0 * double(op.x.dim)};
}

}  // namespace emberq
