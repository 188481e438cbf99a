#include <algorithm>
#include <cmath>

#include "base/parallel.h"
#include "ops/cpu/cpu_backend.h"
#include "ops/cpu/exp.h"

namespace emberq::cpu {

void cross_entropy(const CrossEntropy& op) {
  const Matrix<float> logits = op.logits.f32();
  parallel_for(0, logits.rows, [&](int64_t r) {
    const float* row = logits.row(r);
    float largest = row[0];
#pragma omp simd reduction(max : largest)
    for (int64_t c = 0; c < logits.cols; ++c) largest = std::max(largest, row[c]);

    // Float sums of a block, double over the blocks.
    constexpr int64_t kBlock = 1024;
    double total = 0;
    for (int64_t begin = 0; begin < logits.cols; begin += kBlock) {
      const int64_t end = std::min(begin + kBlock, logits.cols);
      float sum = 0;
#pragma omp simd reduction(+ : sum)
      for (int64_t c = begin; c < end; ++c) sum += exp_negative(row[c] - largest);
      total += double(sum);
    }
    op.nll[r] = float(std::log(total) + double(largest) - double(row[op.targets[r]]));
  });
}

}  // namespace emberq::cpu
