#include <cmath>
#include <vector>

#include "base/parallel.h"
#include "ops/cpu/cpu_backend.h"
#include "ops/cpu/row_quantizer.h"

namespace emberq::cpu {

void rms_norm(const RmsNorm& op) {
  const Matrix<float> x = op.x.f32();
  parallel_for(0, x.rows, [&](int64_t r) {
    const float* row = x.row(r);
    if (op.addend) {
      const float* addend = op.addend.f32().row(r);
      float* added = op.sum.f32().row(r);
      for (int64_t c = 0; c < x.cols; ++c) added[c] = row[c] + addend[c];
      row = added;
    }
    double sum = 0;
    for (int64_t c = 0; c < x.cols; ++c) sum += double(row[c]) * double(row[c]);
    const float scale = float(1 / std::sqrt(sum / double(x.cols) + double(op.eps)));

    thread_local std::vector<float> y;
    y.resize(size_t(x.cols));
    for (int64_t c = 0; c < x.cols; ++c) y[size_t(c)] = row[c] * scale * op.weight[c];
    store_row(op.out, r, y.data());
  });
}

}  // namespace emberq::cpu
