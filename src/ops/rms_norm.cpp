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
  if (!op.addend) return;
  for (const Activations* x : {&op.addend, &op.sum})
    EMBERQ_CHECK(x->rows == op.x.rows && x->dim == op.x.dim && !x->quantized(),
                 "rms_norm: x is [{}, {}] but addend or sum is {} [{}, {}]", op.x.rows, op.x.dim,
                 name(x->dtype), x->rows, x->dim);
  EMBERQ_CHECK(op.sum.data != op.out.data, "rms_norm: sum and out are the same memory");
}

Cost cost(const RmsNorm& op) {
  const double per_element = (op.out.quantized() ? 6.0 : 4.0) + (op.addend ? 1.0 : 0.0);
  const size_t added = op.addend ? op.addend.bytes() + op.sum.bytes() : 0;
  return {.flops = per_element * double(op.x.rows * op.x.dim),
          .bytes = double(op.x.bytes() + added + op.out.bytes()) + 4.0 * double(op.x.dim)};
}

}  // namespace emberq
