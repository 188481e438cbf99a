#pragma once

#include <vector>

#include "quant/dense_block.h"
#include "quant/weight_grid.h"

namespace emberq {

// One scale per row and group, as stored: BF16 numbers, [n, k / group_size].
struct GroupScales {
  int64_t group_size = 0, groups = 0;  // of a row
  std::vector<float> scale;
};

// absmax / (the grid's largest value)
GroupScales absmax_scales(const DenseLinear& linear, const WeightGrid& grid);

// Of 36 multiples of that, 0.45 ... 1.15, the one with the least sum_k h[k] (w_k - ŵ_k)^2 over the
// group; h is the mean square of input k, or all ones. Of equal ones the smallest.
GroupScales searched_scales(const DenseLinear& linear, const WeightGrid& grid,
                            const std::vector<double>& h);

}  // namespace emberq
