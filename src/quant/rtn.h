#pragma once

#include "quant/dense_block.h"
#include "tensor/quantized_weight.h"

namespace emberq {

// FireQ's per-tensor scale p (fireq.md 1.1, step 1), a power of two up to 2^14, from the largest
// magnitude of every group: it lifts groups whose scale would fall under the smallest e4m3 number
// while none passes 448. The p with the least total shortfall; of equal ones the smallest.
double per_tensor_scale(std::span<const double> group_absmax);

// How round_to_nearest() chooses a group's scale.
enum class ScaleRule {
  kAbsmax,        // the largest magnitude over the largest code
  kLeastSquares,  // the multiple of that with the least squared error (quant/scale_search.h)
};

// Round to nearest, each group by its own scale.
//   WeightProduct::kE4m3   s = e4m3_scale(p * absmax, 7); stored s / p in BF16, exactly
//   WeightProduct::kExact  s = BF16 of absmax / the scheme's largest code
//   zero points            QServe's progressive groups (2405.04532): w8 = round(w / s1) with s1 =
//                          FP16 of the row's absmax / 119, then u = round(w8 / s2) + z with s2 =
//                          round((max - min) / 15) >= 1 and z = round(-min / s2) of the group's w8
//                          and 0; value = (u - z) * s2 * s1, s1 * s2 stored in F32, exactly
// Codes are those nearest to w / stored scale. k must be a multiple of the group.
QuantizedWeight round_to_nearest(const DenseLinear& linear, const WeightScheme& scheme,
                                 ScaleRule rule = ScaleRule::kAbsmax);

}  // namespace emberq
