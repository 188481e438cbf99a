#pragma once

#include <functional>
#include <vector>

#include "format/bf16.h"
#include "format/pack.h"
#include "tensor/quantized_weight.h"

namespace emberq::test {

// A weight whose stored codes, scales and zero points these give for a row and a column or group,
// asked row by row.
struct WeightParts {
  std::function<int(int64_t row, int64_t column)> code;  // 0 ... 2^bits - 1
  std::function<float(int64_t row, int64_t group)> scale;
  std::function<int8_t(int64_t row, int64_t group)> zero_point;
  DType scale_type = DType::kF32;  // or kBF16
};
inline QuantizedWeight assemble(int64_t n, int64_t k, const WeightScheme& scheme,
                                const WeightParts& of) {
  const size_t words = packed_words(size_t(k), scheme.bits);
  const int64_t groups = scheme.group_size ? k / scheme.group_size : 1;
  std::vector<uint32_t> packed(size_t(n) * words);
  std::vector<float> scale;
  std::vector<bf16> narrow_scale;
  std::vector<int8_t> zero_point;
  for (int64_t i = 0; i < n; ++i) {
    for (int64_t j = 0; j < k; ++j)
      pack_code(&packed[size_t(i) * words], size_t(j), scheme.bits,
                of.code(i, j) - (1 << (scheme.bits - 1)));
    for (int64_t g = 0; g < groups; ++g) {
      scale.push_back(of.scale(i, g));
      narrow_scale.push_back(bf16::from_float(scale.back()));
      zero_point.push_back(of.zero_point(i, g));
    }
  }
  QuantizedWeight weight{
      .scheme = scheme,
      .n = n,
      .k = k,
      .packed =
          Tensor::copy_of(DType::kI32, {n, int64_t(words)}, std::span<const uint32_t>(packed)),
      .scale = of.scale_type == DType::kBF16
                   ? Tensor::copy_of(DType::kBF16, {n, groups}, std::span<const bf16>(narrow_scale))
                   : Tensor::of({n, groups}, scale)};
  if (scheme.zero_point)
    weight.zero_point =
        Tensor::copy_of(DType::kI8, {n, groups}, std::span<const int8_t>(zero_point));
  return weight;
}

}  // namespace emberq::test
