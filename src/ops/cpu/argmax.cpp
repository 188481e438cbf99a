#include "ops/argmax.h"

#include <algorithm>
#include <cmath>

#include "base/parallel.h"
#include "ops/cpu/cpu_backend.h"

namespace emberq::cpu {

void argmax(const Argmax& op) {
  const Matrix<float> logits = op.logits.f32();
  parallel_for(0, logits.rows, [&](int64_t r) {
    const float *row = logits.row(r), *end = row + logits.cols;
    const bool nan = std::any_of(row, end, [](float x) { return std::isnan(x); });
    op.ids[r] = nan ? -1 : int32_t(std::max_element(row, end) - row);
  });
}

}  // namespace emberq::cpu
