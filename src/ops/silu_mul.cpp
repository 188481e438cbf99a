#include "ops/silu_mul.h"

#include "base/check.h"

namespace emberq {

void check(const SiluMul& op) {
  for (const Activations* x : {&op.gate, &op.up}) {
    EMBERQ_CHECK(x->rows == op.out.rows && x->dim == op.out.dim,
                 "silu_mul: an input is [{}, {}] but out is [{}, {}]", x->rows, x->dim, op.out.rows,
                 op.out.dim);
    EMBERQ_CHECK(!x->quantized(), "silu_mul: inputs may not be quantized");
  }
}

Cost cost(const SiluMul& op) {
  return {.flops = 5.0 * double(op.out.rows * op.out.dim),
          .bytes = double(op.gate.bytes() + op.up.bytes() + op.out.bytes())};
}

}  // namespace emberq
