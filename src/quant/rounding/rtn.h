#pragma once

#include "quant/layer/f64_layer.h"
#include "tensor/quantized_weight.h"

namespace emberq {

// How round_to_nearest() chooses a group's scale.
enum class ScaleRule {
  kAbsmax,        // the largest magnitude over the largest code
  kLeastSquares,  // the multiple of that with the least squared error
                  // (quant/rounding/scale_search.h)
};

// Round to nearest, each group by its own scale.
//   kExact       s = BF16 of absmax / the scheme's largest code, or of a multiple of it
//   kE4m3, kLut  the same; p by global_scale() (quant/rounding/scale_search.h)
//   kE4m3, kInt  FireQ: p by global_scale(), s = e4m3_scale(p * absmax, 7), stored s / p in BF16,
//   exactly zero points  QServe's progressive groups (2405.04532): w8 = round(w / s1) with s1 =
//   FP16 of the
//                row's absmax / 119, then u = round(w8 / s2) + z with s2 = round((max - min) / 15)
//                >= 1 and z = round(-min / s2) of the group's w8 and 0; value =
//                (u - z) * s2 * s1, s1 * s2 stored in F32, exactly
// Codes are those nearest to w / stored scale; those of LUT4's e4m3 products have the nearest
// product. k must be a multiple of the group.
QuantizedWeight round_to_nearest(const F64Linear& linear, const WeightScheme& scheme,
                                 ScaleRule rule = ScaleRule::kAbsmax);

}  // namespace emberq
