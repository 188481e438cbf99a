#pragma once

#include <cmath>

#include "ops/cuda/runtime/host_device.h"

namespace emberq::cuda {

// y / scale for the codes of a row, without the ~20 instructions of a division: the product with
// the reciprocal, corrected by its remainder. Its e4m3 code is that of y / scale, the sign of zero
// included. tests/ops/row_quotient_test.cpp tries every significand of a scale around every
// rounding boundary.
class RowQuotient {
 public:
  EMBERQ_HOST_DEVICE explicit RowQuotient(float scale)
      : shift_(scale < 0x1p-64f  ? 0x1p64f
               : scale > 0x1p64f ? 0x1p-64f
                                 : 1.0f),
        scale_(scale * shift_),
        reciprocal_(1 / scale_) {}

  EMBERQ_HOST_DEVICE float operator()(float y) const { return of_shifted(y * shift_); }

  // The two parts of operator(). Most rows have a shift of 1 and skip the first. The code negates
  // the reciprocal, not the excess: g++ 12 would fold that negation into the first fma and lose the
  // sign of a zero.
  EMBERQ_HOST_DEVICE float shift() const { return shift_; }
  EMBERQ_HOST_DEVICE float of_shifted(float y) const {
    const float q = y * reciprocal_;
    const float excess = std::fma(q, scale_, -y);
    return std::fma(excess, -reciprocal_, q);
  }

 private:
  float shift_;  // a power of two that keeps every step in range
  float scale_, reciprocal_;
};

}  // namespace emberq::cuda
