#include "ops/silu_and_mul.h"

#include "base/check.h"
#include "format/hadamard.h"

namespace emberq {

void check(const SiluAndMul& op) {
  EMBERQ_CHECK(!op.gate.quantized() && !op.up.quantized(),
               "silu_and_mul: inputs may not be quantized");
  if (op.interleaved()) {
    EMBERQ_CHECK(op.gate.rows == op.out.rows && op.gate.dim == 2 * op.out.dim &&
                     op.out.dim % SiluAndMul::kInterleaved == 0,
                 "silu_and_mul: gate and up in turns of {} are [{}, {}] but out is [{}, {}]",
                 SiluAndMul::kInterleaved, op.gate.rows, op.gate.dim, op.out.rows, op.out.dim);
  } else {
    for (const Activations* x : {&op.gate, &op.up})
      EMBERQ_CHECK(x->rows == op.out.rows && x->dim == op.out.dim,
                   "silu_and_mul: an input is [{}, {}] but out is [{}, {}]", x->rows, x->dim,
                   op.out.rows, op.out.dim);
  }
  EMBERQ_CHECK(op.hadamard == 0 || (is_power_of_two(op.hadamard) && op.out.dim % op.hadamard == 0),
               "silu_and_mul: a Hadamard transform of {} in rows of {}", op.hadamard, op.out.dim);
  check(op.out, "silu_and_mul");
}

Cost cost(const SiluAndMul& op) {
  const double transform = op.hadamard ? Hadamard(op.hadamard).operations() : 0.0;
  return {.flops = (5.0 + transform) * double(op.out.rows * op.out.dim),
          .bytes = double(op.gate.bytes() + op.up.bytes() + op.out.bytes())};
}

}  // namespace emberq
