#include "ops/linear.h"

#include "base/check.h"

namespace emberq {

void check(const Linear& op) {
  EMBERQ_CHECK(op.x.dim == op.weight->k && op.out.dim == op.weight->n &&
                   (op.rows || op.x.rows == op.out.rows),
               "linear: x is [{}, {}], the weight [{}, {}], out [{}, {}]", op.x.rows, op.x.dim,
               op.weight->n, op.weight->k, op.out.rows, op.out.dim);
  EMBERQ_CHECK(!op.residual || (op.residual.rows == op.out.rows && op.residual.dim == op.out.dim),
               "linear: residual is [{}, {}] but out is [{}, {}]", op.residual.rows,
               op.residual.dim, op.out.rows, op.out.dim);
  check(op.x, "linear");
  EMBERQ_CHECK(!op.out.quantized() && !op.residual.quantized(),
               "linear: out and residual may not be quantized");
}

Cost cost(const Linear& op) {
  Activations read = op.x;
  read.rows = op.out.rows;
  return {.flops = 2.0 * double(op.out.rows * op.weight->n) * double(op.weight->k),
          .bytes = double(op.weight->bytes + read.bytes() + op.out.bytes() + op.residual.bytes()) +
                   (op.bias ? 4.0 * double(op.weight->n) : 0.0)};
}

}  // namespace emberq
