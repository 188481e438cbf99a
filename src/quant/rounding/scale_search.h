#pragma once

#include <span>
#include <vector>

#include "quant/layer/f64_layer.h"
#include "quant/rounding/weight_grid.h"

namespace emberq {

// One scale per row and group, as stored: BF16 numbers, [n, k / group_size].
struct GroupScales {
  int64_t group_size = 0, groups = 0;  // of a row
  std::vector<float> scale;
  float global_scale = 1;  // p of products in e4m3

  size_t group(int64_t row, int64_t column) const {
    return size_t(row * groups + column / group_size);
  }
};

// The largest magnitude of each group.
std::vector<double> group_absmax(const F64Linear& linear, int64_t group_size);

// The scale p of a tensor whose products are e4m3 numbers over p, a power of two, from the largest
// magnitude of every group. It lifts groups whose products would be too small for e4m3 while none
// gets too large for it: the p up to 2^14 with the least total shortfall; of equal ones the
// smallest.
//   kInt  FireQ's weights: the scale is to be an e4m3 number, so 7 * 2^-9 ... 448,
//         and p is at least 1
//   kLut  the smallest level, 12/224 of the largest, is to be a normal number, of at least 2^-6;
//         and the largest at most 224, for a scale may double after p is chosen
double global_scale(std::span<const double> group_absmax, WeightCode code = WeightCode::kInt);

// absmax / (the grid's largest value)
GroupScales absmax_scales(const F64Linear& linear, const WeightGrid& grid);

// Of 36 multiples of that, 0.45 ... 1.15, the one with the least sum_k h[k] (w_k - ŵ_k)^2 over the
// group; h is the mean square of input k, or all ones. Of equal ones the smallest. Products of LUT4
// are rounded in the sum.
GroupScales searched_scales(const F64Linear& linear, const WeightGrid& grid,
                            const std::vector<double>& h);

}  // namespace emberq
