#include "ops/quantize_rows.h"

#include "base/check.h"

namespace emberq {

void check(const QuantizeRows& op) {
  EMBERQ_CHECK(op.x.rows == op.out.rows && op.x.dim == op.out.dim,
               "quantize_rows: x is [{}, {}] but out is [{}, {}]", op.x.rows, op.x.dim, op.out.rows,
               op.out.dim);
  EMBERQ_CHECK(!op.x.quantized() && op.out.quantized(), "quantize_rows: {} to {}", name(op.x.dtype),
               name(op.out.dtype));
  check(op.out, "quantize_rows");
}

Cost cost(const QuantizeRows& op) {
  return {.flops = 2.0 * double(op.x.rows * op.x.dim),
          .bytes = double(op.x.bytes() + op.out.bytes())};
}

}  // namespace emberq
