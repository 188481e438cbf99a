#include "ops/cpu/cpu_weight.h"

#include "base/check.h"
#include "base/parallel.h"
#include "format/bf16.h"
#include "format/fp16.h"
#include "format/scale.h"
#include "ops/cpu/fp8_table.h"

namespace emberq::cpu {
namespace {

// Tables of e4m3(q * s) for every e4m3 scale s, and of q itself.
constexpr auto kProductTables = [] {
  std::array<Int4Weight::Table, 128> tables{};
  for (int scale = 0; scale < 127; ++scale)  // 127 is NaN, which is no scale
    for (int q = Int4::kMin; q <= Int4::kMax; ++q)
      tables[size_t(scale)][size_t(q - Int4::kMin)] = e4m3_product(q, {uint8_t(scale)});
  return tables;
}();
constexpr const Int4Weight::Table& kPlainTable = kProductTables[fp8_encode(1.0f)];

Weight wrap(CpuWeight weight, size_t bytes) {
  const int64_t n = weight.n, k = weight.k;
  return {n, k, bytes, std::make_shared<const CpuWeight>(std::move(weight))};
}

// visit(element as Stored) for a dense tensor's element type.
template <class Visit>
auto dispatch(const Tensor& values, const Visit& visit) {
  switch (values.dtype()) {
    case DType::kF32:
      return visit(values.data<float>(), [](float x) { return x; });
    case DType::kBF16:
      return visit(values.data<bf16>(), [](bf16 x) { return x.to_float(); });
    case DType::kF16:
      return visit(values.data<fp16>(), [](fp16 x) { return x.to_float(); });
    default:
      throw Error(fmt::format("cpu: a weight of {}", name(values.dtype())));
  }
}

}  // namespace

const Int4Weight::Table& Int4Weight::table(int64_t group) const {
  return product == WeightProduct::kE4m3 ? kProductTables[scale_codes[size_t(group)]] : kPlainTable;
}

Weight prepare(const Tensor& dense) {
  EMBERQ_CHECK(dense.shape().size() == 2, "a weight must have two dimensions, got {}",
               shape_text(dense.shape()));
  return wrap({dense.shape()[0], dense.shape()[1], DenseWeight{dense}}, dense.bytes().size());
}

Weight prepare(const QuantizedWeight& q) {
  EMBERQ_REQUIRE(q.scheme.bits == 4, "the cpu backend runs INT4 weights, not {}", name(q.scheme));
  EMBERQ_CHECK(q.k % q.scheme.group_size == 0 && q.scheme.group_size % 8 == 0,
               "cpu: {} inputs in groups of {}", q.k, q.scheme.group_size);
  Int4Weight weight{.packed = q.packed,
                    .group_size = q.scheme.group_size,
                    .product = q.scheme.product,
                    .inverse_tensor_scale = 1 / q.per_tensor_scale};
  weight.scales = q.scale.to_float();
  if (weight.product == WeightProduct::kE4m3) {
    for (const float scale : weight.scales)
      weight.scale_codes.push_back(fp8_encode(scale * q.per_tensor_scale));
    weight.scales.clear();
  }
  const size_t bytes =
      q.packed.bytes().size() + weight.scale_codes.size() + 4 * weight.scales.size();
  return wrap({q.n, q.k, std::move(weight)}, bytes);
}

const CpuWeight& cpu_weight(const Weight& weight) {
  return *static_cast<const CpuWeight*>(weight.impl.get());
}

void decode_rows(const CpuWeight& weight, int64_t first, int64_t rows, float* out) {
  const int64_t k = weight.k;
  if (const auto* dense = std::get_if<DenseWeight>(&weight.form)) {
    dispatch(dense->values, [&](const auto* values, const auto& widen) {
      parallel_for(0, rows, [&](int64_t r) {
        const auto* from = values + (first + r) * k;
        float* to = out + r * k;
        for (int64_t i = 0; i < k; ++i) to[i] = widen(from[i]);
      });
    });
    return;
  }
  const auto& int4 = std::get<Int4Weight>(weight.form);
  const int64_t groups = k / int4.group_size;
  parallel_for(0, rows, [&](int64_t r) {
    const uint8_t* packed = int4.packed.data<uint8_t>() + (first + r) * k / 2;
    float* to = out + r * k;
    for (int64_t g = 0; g < groups; ++g) {
      const int64_t group = (first + r) * groups + g;
      const float factor = int4.factor(group);
      std::array<float, 16> values;
      for (size_t q = 0; q < 16; ++q) values[q] = kFp8Values[int4.table(group)[q]] * factor;
      for (int64_t i = 0; i < int4.group_size / 2; ++i, ++packed) {
        *to++ = values[*packed & 15];
        *to++ = values[*packed >> 4];
      }
    }
  });
}

float dot_row(const CpuWeight& weight, int64_t row, const float* x) {
  const int64_t k = weight.k;
  if (const auto* dense = std::get_if<DenseWeight>(&weight.form))
    return dispatch(dense->values, [&](const auto* values, const auto& widen) {
      const auto* w = values + row * k;
      float sum = 0;
#pragma omp simd reduction(+ : sum)
      for (int64_t i = 0; i < k; ++i) sum += x[i] * widen(w[i]);
      return sum;
    });
  const auto& int4 = std::get<Int4Weight>(weight.form);
  const int64_t groups = k / int4.group_size;
  const uint8_t* packed = int4.packed.data<uint8_t>() + row * k / 2;
  float sum = 0;
  for (int64_t g = 0; g < groups; ++g) {
    const int64_t group = row * groups + g;
    sum += int4.factor(group) * dot_int4_group(packed + g * int4.group_size / 2, int4.group_size,
                                               int4.table(group), x + g * int4.group_size);
  }
  return sum;
}

float dot_int4_group_plain(const uint8_t* packed, int64_t codes, const Int4Weight::Table& table,
                           const float* x) {
  float sum = 0;
  for (int64_t i = 0; i < codes / 2; ++i) {
    sum += x[2 * i] * kFp8Values[table[packed[i] & 15]];
    sum += x[2 * i + 1] * kFp8Values[table[packed[i] >> 4]];
  }
  return sum;
}

}  // namespace emberq::cpu
