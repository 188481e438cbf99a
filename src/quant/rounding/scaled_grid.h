#pragma once

#include <utility>
#include <vector>

#include "quant/rounding/e4m3_levels.h"
#include "quant/rounding/scale_search.h"
#include "quant/rounding/weight_grid.h"

namespace emberq {

// A grid under the scales of a weight [n, k]: from the weight at (row, column) to the nearest code,
// and from a code to its value. Products of LUT4 are rounded as the scheme says; FireQ's are not
// (round_to_nearest() makes them from unrounded ones).
class ScaledGrid {
 public:
  ScaledGrid(const WeightGrid& grid, GroupScales scales) : grid_(grid), scales_(std::move(scales)) {
    if (!has_e4m3_levels(grid.scheme())) return;
    levels_.reserve(scales_.scale.size());
    for (const float scale : scales_.scale) levels_.emplace_back(scale, scales_.global_scale);
  }

  const WeightGrid& grid() const { return grid_; }
  const GroupScales& scales() const { return scales_; }

  int encode(int64_t row, int64_t column, double w) const {
    const size_t group = scales_.group(row, column);
    return levels_.empty() ? grid_.encode(w / double(scales_.scale[group]))
                           : levels_[group].encode(w);
  }
  double value(int64_t row, int64_t column, int code) const {
    const size_t group = scales_.group(row, column);
    return levels_.empty() ? grid_.value(code) * double(scales_.scale[group])
                           : levels_[group].value(code);
  }

 private:
  WeightGrid grid_;
  GroupScales scales_;
  std::vector<E4m3Levels> levels_;  // by group; empty: products are exact
};

}  // namespace emberq
