#pragma once

#include "quant/dense_block.h"
#include "tensor/quantized_weight.h"

namespace emberq {

// FireQ's per-tensor scale p (fireq.md 1.1, step 1), a power of two up to 2^14, from the largest
// magnitude of every group: it lifts groups whose scale would fall under the smallest e4m3 number
// while none passes 448. The p with the least total shortfall; of equal ones the smallest.
double per_tensor_scale(std::span<const double> group_absmax);

// Round to nearest, each group by its own largest magnitude.
//   WeightProduct::kE4m3   s = e4m3_scale(p * absmax, 7); stored s / p in BF16, exactly
//   WeightProduct::kExact  s = BF16 of absmax / 7
// In both, codes are clamp(round_half_even(w / stored scale), -8, 7). k must be a multiple of the
// group.
QuantizedWeight round_to_nearest(const DenseLinear& linear, const WeightScheme& scheme);

}  // namespace emberq
