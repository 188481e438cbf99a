#include <cmath>
#include <vector>

#include "base/parallel.h"
#include "ops/cpu/cpu_backend.h"
#include "ops/cpu/exp.h"
#include "ops/cpu/row_quantizer.h"

namespace emberq::cpu {
namespace {

// x / (1 + exp(-x)) through exp(-|x|), which cannot overflow.
float silu(float x) {
  const float e = exp_negative(-std::fabs(x));
  return x * (x < 0 ? e : 1.0f) / (1.0f + e);
}

}  // namespace

void silu_mul(const SiluMul& op) {
  const Matrix<float> gate = op.gate.f32(), up = op.up.f32();
  parallel_for(0, gate.rows, [&](int64_t r) {
    const float *g = gate.row(r), *u = up.row(r);
    thread_local std::vector<float> y;
    y.resize(size_t(gate.cols));
    float* out = y.data();
#pragma omp simd
    for (int64_t c = 0; c < gate.cols; ++c) out[c] = silu(g[c]) * u[c];
    store_row(op.out, r, out);
  });
}

}  // namespace emberq::cpu
