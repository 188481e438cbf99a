#pragma once

#include "format/scheme.h"
#include "tensor/tensor.h"

namespace emberq {

// A linear layer's weight in codes, in canonical order (format/pack.h), as a checkpoint holds it.
//
// The value of weight (n, k) with code q and scale s = scale[n, k / group_size]:
//   Dequant::kExact   weight_code_value(q) * s, or (q - zero_point) * s where it has those
//   Dequant::kE4m3    e4m3(weight_code_value(q) * s * p) / p,  p = global_scale; of kInt,
//                           s * p is an e4m3 number
struct QuantizedWeight {
  WeightScheme scheme;
  int64_t n = 0, k = 0;    // outputs, inputs
  Tensor packed;           // [n, packed_words(k)] I32
  Tensor scale;            // [n, k / group_size] BF16, F16 or F32
  Tensor zero_point;       // [n, k / group_size] I8 where the scheme has one
  float global_scale = 1;  // p, a power of two
};

}  // namespace emberq
