#include "base/parallel.h"
#include "ops/cpu/cpu_backend.h"
#include "ops/cpu/row_quantizer.h"

namespace emberq::cpu {

void per_token_quantize(const PerTokenQuantize& op) {
  const Matrix<float> x = op.x.f32();
  parallel_for(0, x.rows, [&](int64_t r) { store_row(op.out, r, x.row(r)); });
}

}  // namespace emberq::cpu
