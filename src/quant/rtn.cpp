#include "quant/rtn.h"

#include <algorithm>
#include <cmath>

#include "base/check.h"
#include "base/parallel.h"
#include "format/bf16.h"
#include "format/pack.h"
#include "format/scale.h"

namespace emberq {
namespace {

std::vector<double> group_absmax(const DenseLinear& linear, int64_t group_size) {
  std::vector<double> absmax(size_t(linear.n * linear.k / group_size));
  parallel_for(0, int64_t(absmax.size()), [&](int64_t g) {
    const double* group = linear.weight.data() + g * group_size;
    double largest = 0;
    for (int64_t i = 0; i < group_size; ++i) largest = std::max(largest, std::abs(group[i]));
    absmax[size_t(g)] = largest;
  });
  return absmax;
}

}  // namespace

double per_tensor_scale(std::span<const double> group_absmax) {
  constexpr double kLeastScaled = Int4::kMax * double(kFp8MinSubnormal);  // its scale is 2^-9
  double best = 1, least = INFINITY;
  for (int i = 0; i <= 14; ++i) {
    const double p = std::ldexp(1.0, i);
    double shortfall = 0;
    for (const double absmax : group_absmax) {
      if (absmax * p > double(kFp8Max)) return best;
      if (absmax * p < kLeastScaled) shortfall += (kLeastScaled - absmax * p) / kLeastScaled;
    }
    if (shortfall < least) best = p, least = shortfall;
  }
  return best;
}

namespace {

// Rounds every group by the scale that make_scale(largest magnitude of p * w) gives, and stores
// that scale over p.
template <class MakeScale>
QuantizedWeight round_groups(const DenseLinear& linear, const WeightScheme& scheme,
                             std::span<const double> absmax, double p,
                             const MakeScale& make_scale) {
  const int64_t n = linear.n, k = linear.k, group_size = scheme.group_size, groups = k / group_size;
  const int64_t words = int64_t(packed_words(size_t(k), scheme.bits));
  std::vector<uint32_t> packed(size_t(n * words));
  std::vector<bf16> scales(absmax.size());
  parallel_for(0, n, [&](int64_t row) {
    for (int64_t g = 0; g < groups; ++g) {
      const auto scale = make_scale(p * absmax[size_t(row * groups + g)]);
      scales[size_t(row * groups + g)] = bf16::from_float(scale.value() / float(p));
      for (int64_t i = g * group_size; i < (g + 1) * group_size; ++i)
        pack_code(packed.data() + row * words, size_t(i), scheme.bits,
                  quantize<Int4>(p * linear.row(row)[i], scale));
    }
  });
  return {.scheme = scheme,
          .n = n,
          .k = k,
          .packed = Tensor::copy_of(DType::kI32, {n, words}, std::span<const uint32_t>(packed)),
          .scale = Tensor::copy_of(DType::kBF16, {n, groups}, std::span<const bf16>(scales)),
          .per_tensor_scale = float(p)};
}

}  // namespace

QuantizedWeight round_to_nearest(const DenseLinear& linear, const WeightScheme& scheme) {
  EMBERQ_CHECK(scheme.bits == Int4::kBits && linear.k % scheme.group_size == 0,
               "round to nearest: {} of [{}, {}]", name(scheme), linear.n, linear.k);
  const std::vector<double> absmax = group_absmax(linear, scheme.group_size);
  if (scheme.product == WeightProduct::kExact)
    return round_groups(linear, scheme, absmax, 1,
                        [](double largest) { return bf16_scale(largest, Int4::kMax); });
  return round_groups(linear, scheme, absmax, per_tensor_scale(absmax), [](double largest) {
    return e4m3_scale(std::max(largest, kLeastAbsmax), Int4::kMax);
  });
}

}  // namespace emberq
