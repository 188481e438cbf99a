#include <cmath>
#include <vector>

#include "base/parallel.h"
#include "format/hadamard.h"
#include "ops/cpu/cpu_backend.h"
#include "ops/cpu/exp.h"
#include "ops/cpu/row_quantizer.h"

namespace emberq::cpu {
namespace {

// x / (1 + exp(-x)) goes through exp(-|x|), which cannot overflow.
void silu_and_mul_row(const float* gate, const float* up, int64_t n, float* out) {
#pragma omp simd
  for (int64_t c = 0; c < n; ++c) {
    const float x = gate[c];
    const float e = exp_negative(-std::fabs(x));
    const float numerator = x < 0 ? e : 1.0f;
    out[c] = x * numerator / (1.0f + e) * up[c];
  }
}

}  // namespace

void silu_and_mul(const SiluAndMul& op) {
  constexpr int64_t kTurn = SiluAndMul::kInterleaved;
  const Matrix<float> gate = op.gate.f32();
  const int64_t dim = op.out.dim;
  parallel_for(0, gate.rows, [&](int64_t r) {
    thread_local std::vector<float> y;
    y.resize(size_t(dim));
    const float* row = gate.row(r);
    if (op.interleaved())
      for (int64_t c = 0; c < dim; c += kTurn)
        silu_and_mul_row(row + 2 * c, row + 2 * c + kTurn, kTurn, y.data() + c);
    else
      silu_and_mul_row(row, op.up.f32().row(r), dim, y.data());
    if (op.hadamard)
      for (int64_t c = 0; c < dim; c += op.hadamard) hadamard(y.data() + c, op.hadamard);
    store_row(op.out, r, y.data());
  });
}

}  // namespace emberq::cpu
