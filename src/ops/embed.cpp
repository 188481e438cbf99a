#include "ops/embed.h"

#include "base/check.h"

namespace emberq {

void check(const Embed& op) {
  EMBERQ_CHECK(op.table->k == op.out.dim, "embed: the table has {} columns but out has {}",
               op.table->k, op.out.dim);
  EMBERQ_CHECK(!op.out.quantized(), "embed: out may not be quantized");
}

Cost cost(const Embed& op) { return {.flops = 0, .bytes = 2.0 * double(op.out.bytes())}; }

}  // namespace emberq
