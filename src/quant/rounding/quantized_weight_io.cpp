#include "quant/rounding/quantized_weight_io.h"

#include "base/check.h"
#include "base/parallel.h"
#include "format/bf16.h"
#include "format/pack.h"
#include "format/weight_code.h"

namespace emberq {

QuantizedWeight pack(const F64Linear& linear, const WeightScheme& scheme,
                     std::span<const uint8_t> codes, std::span<const float> scales) {
  const int64_t n = linear.n, k = linear.k, groups = int64_t(scales.size()) / n;
  const int64_t words = int64_t(packed_words(size_t(k), scheme.bits));
  EMBERQ_CHECK(int64_t(codes.size()) == n * k, "pack: {} codes of [{}, {}]", codes.size(), n, k);
  std::vector<uint32_t> packed(size_t(n * words));
  parallel_for(0, n, [&](int64_t row) {
    for (int64_t i = 0; i < k; ++i)
      pack_code(packed.data() + row * words, size_t(i), scheme.bits,
                int(codes[size_t(row * k + i)]) - (1 << (scheme.bits - 1)));
  });
  std::vector<bf16> stored;
  stored.reserve(scales.size());
  for (const float scale : scales) stored.push_back(bf16::from_float(scale));
  return {.scheme = scheme,
          .n = n,
          .k = k,
          .packed = Tensor::copy_of(DType::kI32, {n, words}, std::span<const uint32_t>(packed)),
          .scale = Tensor::copy_of(DType::kBF16, {n, groups}, std::span<const bf16>(stored))};
}

std::vector<float> unpack(const QuantizedWeight& weight) {
  const int64_t n = weight.n, k = weight.k, groups = weight.scale.shape()[1];
  const int64_t words = weight.packed.shape()[1], group_size = k / groups;
  const std::vector<float> scale = weight.scale.to_float();
  const int offset = 1 << (weight.scheme.bits - 1);
  std::vector<float> values(size_t(n * k));
  parallel_for(0, n, [&](int64_t row) {
    for (int64_t i = 0; i < k; ++i) {
      const auto group = size_t(row * groups + i / group_size);
      const int u =
          packed_code(weight.packed.data<uint32_t>() + row * words, size_t(i), weight.scheme.bits) +
          offset;
      const int zero = weight.scheme.zero_point ? weight.zero_point.data<int8_t>()[group] : 0;
      values[size_t(row * k + i)] =
          dequantize(weight.scheme, u, zero, scale[group], weight.global_scale);
    }
  });
  return values;
}

}  // namespace emberq
