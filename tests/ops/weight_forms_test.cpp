// Every weight scheme as the CPU keeps it, against weight_code_value() one code at a time.
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <random>

#include "format/pack.h"
#include "format/weight_code.h"
#include "ops/cpu/cpu_weight.h"
#include "support/quantized_weight.h"
#include "support/random.h"
#include "support/refusal.h"
#include "support/tolerance.h"

namespace emberq::weight_forms_test {
namespace {

WeightScheme scheme_of(const std::string& name) { return *weight_scheme_from_name(name); }

// A weight of codes that `next` gives, with scales of all sizes, zero among them.
template <class Next>
QuantizedWeight make_weight(int64_t n, int64_t k, const WeightScheme& scheme, const Next& next) {
  std::mt19937_64 random(size_t(n * k));
  return test::assemble(
      n, k, scheme,
      {.code = [&](int64_t, int64_t) { return next(); },
       .scale =
           [&](int64_t, int64_t) {
             return random() % 8 ? std::ldexp(float(1 + random() % 255), int(random() % 24) - 20)
                                 : 0.0f;
           },
       .zero_point = [&](int64_t, int64_t) { return int8_t(int(random() % 16) - 8); }});
}

// Codes in no order; NaN is no code.
QuantizedWeight random_weight(int64_t n, int64_t k, const WeightScheme& scheme) {
  std::mt19937_64 random(size_t(n + k));
  const bool e4m3 = scheme.code == WeightCode::kFloat && scheme.bits == 8;
  return make_weight(n, k, scheme, [&] {
    const int u = int(random() % (1u << scheme.bits));
    return e4m3 && (u & 0x7f) == 0x7f ? 0 : u;
  });
}

// The value of one weight by the definition in tensor/quantized_weight.h.
float value_of(const QuantizedWeight& w, int64_t row, int64_t column) {
  const int64_t group_size = w.scheme.group_size ? w.scheme.group_size : w.k,
                group = row * (w.k / group_size) + column / group_size;
  const auto* words =
      w.packed.data<uint32_t>() + size_t(row) * packed_words(size_t(w.k), w.scheme.bits);
  const int q = packed_code(words, size_t(column), w.scheme.bits);
  const float code = weight_code_value(w.scheme, q + (1 << (w.scheme.bits - 1)));
  const float zero = w.scheme.zero_point ? float(w.zero_point.data<int8_t>()[group]) : 0;
  const float scale = w.scale.data<float>()[group], p = w.global_scale;
  if (w.scheme.dequant == Dequant::kE4m3) return fp8_round(code * scale * p) / p;
  return (code - zero) * scale;
}

void expect_weight(const QuantizedWeight& weight) {
  const Weight prepared = cpu::prepare(weight);
  const cpu::CpuWeight& form = cpu::cpu_weight(prepared);
  const int64_t n = weight.n, k = weight.k, first = n > 1 ? 1 : 0;
  EXPECT_EQ(prepared.n, n);
  EXPECT_EQ(prepared.k, k);
  std::vector<float> decoded(size_t((n - first) * k));
  cpu::decode_rows(form, first, n - first, decoded.data());
  const std::vector<float> x = test::normal_floats(size_t(k), 3);
  for (int64_t row = 0; row < n; ++row) {
    double sum = 0, magnitude = 0;
    for (int64_t i = 0; i < k; ++i) {
      const float value = value_of(weight, row, i);
      if (row >= first) {
        ASSERT_EQ(decoded[size_t((row - first) * k + i)], value) << row << ", " << i;
      }
      sum += double(x[size_t(i)]) * double(value);
      magnitude += std::abs(double(x[size_t(i)]) * double(value));
    }
    ASSERT_NEAR(cpu::dot_row(form, row, x.data()), sum, test::float_sum(magnitude, int(k) + 2))
        << row;
  }
}

class WeightForm : public testing::TestWithParam<const char*> {};

TEST_P(WeightForm, HasTheValuesOfItsCodes) {
  expect_weight(random_weight(5, 768, scheme_of(GetParam())));
}

TEST_P(WeightForm, HasTheValuesOfItsCodesWhereAGroupIsTheRow) {
  WeightScheme scheme = scheme_of(GetParam());
  for (const int64_t k : {2, 8, 100, 512, 1100})  // 1100: more than a block, and not whole words
    for (const int64_t group_size : {int64_t(0), k}) {
      scheme.group_size = int(group_size);
      expect_weight(random_weight(3, k, scheme));
    }
}

TEST_P(WeightForm, HasTheValuesOfItsCodesWhereRowsAndGroupsEndInsideAWord) {
  WeightScheme scheme = scheme_of(GetParam());
  for (const int group_size : {2, 6, 30, 250}) {
    scheme.group_size = group_size;
    expect_weight(random_weight(4, group_size * 3, scheme));
  }
}

TEST_P(WeightForm, HasTheValuesOfItsLeastAndLargestCodes) {
  const WeightScheme scheme = scheme_of(GetParam());
  const bool e4m3 = scheme.code == WeightCode::kFloat && scheme.bits == 8;
  const int largest = (1 << scheme.bits) - (e4m3 ? 2 : 1);  // -448 before NaN
  for (const int u : {0, largest}) expect_weight(make_weight(2, 256, scheme, [u] { return u; }));
}

TEST_P(WeightForm, CountsTheBytesOfItsCodesAndScales) {
  const WeightScheme scheme = scheme_of(GetParam());
  const Weight weight = cpu::prepare(random_weight(4, 256, scheme));
  const size_t groups = scheme.group_size ? 256 / size_t(scheme.group_size) : 1;
  const bool products = scheme.dequant == Dequant::kE4m3;  // an index of two bytes
  const size_t of_group = products ? 2 : scheme.zero_point ? 6 : 4;
  EXPECT_EQ(weight.bytes, 4 * (256 * size_t(scheme.bits) / 8 + groups * of_group));
}

INSTANTIATE_TEST_SUITE_P(Cpu, WeightForm,
                         testing::Values("int2-g64", "int3-g128", "int4-g32", "int4-channel",
                                         "int4-g128-asym", "int5-g128", "int6-g128", "int6-channel",
                                         "int7-g64", "int8-g128", "int8-channel", "lut4-g64",
                                         "lut4-channel", "lut4-g128-e4m3", "lut4-g32-e4m3",
                                         "fp6e2m3-g128", "fp6e2m3-channel", "fp8e4m3-channel",
                                         "fp8e4m3-g128"),
                         [](const auto& scheme) {
                           std::string name = scheme.param;
                           std::ranges::replace(name, '-', '_');
                           return name;
                         });

TEST(WeightForms, OfGroupsOfAnOddSizeHaveTheValuesOfTheirCodes) {
  for (const char* name :
       {"int4-g33", "lut4-g33", "int6-g33", "int8-g33", "fp8e4m3-g33", "fp6e2m3-g1"})
    expect_weight(random_weight(4, 99, scheme_of(name)));
}

TEST(WeightForms, OfGroupsOfAnOddSizeAreRefusedWhereTheirTablesDiffer) {
  EXPECT_REFUSED(cpu::prepare(random_weight(4, 99, scheme_of("int4-g33-asym"))), "int4-g33-asym");
  EXPECT_REFUSED(cpu::prepare(random_weight(4, 99, scheme_of("int4-g33-e4m3"))), "int4-g33-e4m3");
  EXPECT_REFUSED(cpu::prepare(random_weight(4, 99, scheme_of("lut4-g33-e4m3"))), "lut4-g33-e4m3");
}

// Every BF16 scale from where all products are zero to where all are 448, so every table too.
TEST(WeightForms, HaveTheProductsOfEveryScaleToTheBit) {
  std::vector<uint32_t> words;
  std::vector<float> scales;
  for (uint32_t bits = 0; bits < 0x8000; ++bits) {
    const float scale = std::bit_cast<float>(bits << 16);
    if (bits != 0 && !(scale > 0x1p-24f && scale < 0x1p8f)) continue;
    words.insert(words.end(), {0x76543210u, 0xfedcba98u});
    scales.push_back(scale);
  }
  const auto groups = int64_t(scales.size());
  for (const float p : {1.0f, 64.0f, 0.25f}) {
    QuantizedWeight weight{
        .scheme = scheme_of("lut4-g16-e4m3"),
        .n = 1,
        .k = 16 * groups,
        .packed = Tensor::copy_of(DType::kI32, {1, 2 * groups}, std::span<const uint32_t>(words)),
        .scale = Tensor::of({1, groups}, scales),
        .global_scale = p};
    Weight prepared = cpu::prepare(weight);
    const cpu::CpuWeight copy = cpu::cpu_weight(prepared);  // its tables outlive what they are of
    prepared = {};
    std::vector<float> values(size_t(weight.k));
    cpu::decode_rows(copy, 0, 1, values.data());
    for (int64_t i = 0; i < weight.k; ++i)
      ASSERT_EQ(std::bit_cast<uint32_t>(values[size_t(i)]),
                std::bit_cast<uint32_t>(value_of(weight, 0, i)))
          << scales[size_t(i / 16)] << ", code " << i % 16;
  }
}

// The differences that e4m3 must have exactly: -15 ... 15.
TEST(WeightForms, HaveEveryDifferenceOfACodeAndAZeroPoint) {
  std::vector<uint32_t> words;
  std::vector<int8_t> zero_points;
  for (int z = -8; z < 8; ++z) {
    words.insert(words.end(), {0x76543210u, 0xfedcba98u});
    zero_points.push_back(int8_t(z));
  }
  const QuantizedWeight weight{
      .scheme = scheme_of("int4-g16-asym"),
      .n = 16,
      .k = 16,
      .packed = Tensor::copy_of(DType::kI32, {16, 2}, std::span<const uint32_t>(words)),
      .scale = Tensor::of({16, 1}, std::vector<float>(16, 1.0f)),
      .zero_point = Tensor::copy_of(DType::kI8, {16, 1}, std::span<const int8_t>(zero_points))};
  const Weight prepared = cpu::prepare(weight);
  std::vector<float> values(256);
  cpu::decode_rows(cpu::cpu_weight(prepared), 0, 16, values.data());
  for (int z = -8; z < 8; ++z)
    for (int q = -8; q < 8; ++q)
      EXPECT_EQ(values[size_t((z + 8) * 16 + q + 8)], float(q - z)) << q << ", " << z;
}

}  // namespace
}  // namespace emberq::weight_forms_test
