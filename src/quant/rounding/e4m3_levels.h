#pragma once

#include <array>

#include "format/lut4.h"
#include "format/scheme.h"
#include "format/weight_code.h"

namespace emberq {

// Whether a scheme's values are E4m3Levels: LUT4 with products in e4m3.
inline bool has_e4m3_levels(const WeightScheme& scheme) {
  return scheme.code == WeightCode::kLut && scheme.dequant == Dequant::kE4m3;
}

// The values of LUT4 codes under a group's scale s where the products are e4m3 numbers over p
// (tensor/quantized_weight.h): ± e4m3(magnitude * s * p) / p. Neighbours may be equal, above 448 /
// p and among the subnormals; the smallest may be zero.
class E4m3Levels {
 public:
  E4m3Levels(float scale, float p) {
    for (size_t i = 0; i < kCount; ++i)
      levels_[i] = double(dequantize(Dequant::kE4m3, kLut4Magnitudes[i], scale, p));
    for (size_t i = 0; i + 1 < kCount; ++i) midpoints_[i] = (levels_[i] + levels_[i + 1]) / 2;
  }

  double value(int u) const { return u & 8 ? -levels_[size_t(u & 7)] : levels_[size_t(u)]; }

  // The stored code of the level nearest to w; at a midpoint the smaller magnitude, and zero is
  // positive.
  int encode(double w) const {
    const double magnitude = w < 0 ? -w : w;
    int index = 0;
    for (const double midpoint : midpoints_) index += magnitude > midpoint;
    return index | (w < 0 ? 8 : 0);
  }

  // value(encode(w)) as a sum of steps, which vectorizes and is exact: all are multiples of
  // 2^-9 / p.
  double round(double w) const {
    const double magnitude = w < 0 ? -w : w;
    double value = levels_[0];
    for (size_t i = 0; i + 1 < kCount; ++i)
      value += magnitude > midpoints_[i] ? levels_[i + 1] - levels_[i] : 0.0;
    return w < 0 ? -value : value;
  }

 private:
  static constexpr size_t kCount = kLut4Magnitudes.size();
  std::array<double, kCount> levels_{};
  std::array<double, kCount - 1> midpoints_{};
};

}  // namespace emberq
