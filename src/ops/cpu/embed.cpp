#include "base/check.h"
#include "base/parallel.h"
#include "ops/cpu/cpu_backend.h"
#include "ops/cpu/cpu_weight.h"

namespace emberq::cpu {

void embed(const Embed& op) {
  const CpuWeight& table = cpu_weight(*op.table);
  const Matrix<float> out = op.out.f32();
  parallel_for(0, out.rows, [&](int64_t t) {
    EMBERQ_CHECK(op.ids[t] >= 0 && op.ids[t] < op.table->n,
                 "embed: token {} has the id {}, the table has {} rows", t, op.ids[t], op.table->n);
    decode_rows(table, op.ids[t], 1, out.row(t));
  });
}

}  // namespace emberq::cpu
