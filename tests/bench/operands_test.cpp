#include "bench/operands.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "format/bf16.h"
#include "format/fp8.h"
#include "format/pack.h"

namespace emberq::bench::operands_test {
namespace {

constexpr size_t kMany = size_t(40) << 20;  // more than the block that repeats, and no multiple

TEST(RandomE4m3, HoldsEveryCodeButNan) {
  const auto backend = make_cpu_backend();
  const Buffer buffer = random_e4m3(*backend, kMany);
  std::vector<int> seen(256);
  for (size_t i = 0; i < kMany; ++i) ++seen[buffer.as<uint8_t>()[i]];
  for (int code = 0; code < 256; ++code)
    EXPECT_EQ(seen[size_t(code)] > 0, !std::isnan(fp8_decode(uint8_t(code)))) << code;
}

TEST(RandomBf16, IsOfMagnitudeOneHalfToTwoAndOfBothSigns) {
  const auto backend = make_cpu_backend();
  const Buffer buffer = random_bf16(*backend, kMany);
  size_t negative = 0;
  for (size_t i = 0; i < kMany; ++i) {
    const float x = buffer.as<bf16>()[i].to_float();
    ASSERT_TRUE(std::abs(x) >= 0.5f && std::abs(x) < 2.0f) << x;
    negative += x < 0;
  }
  EXPECT_NEAR(double(negative) / double(kMany), 0.5, 0.01);
}

TEST(RandomF32, IsOfMagnitudeOneHalfToTwoAndOfBothSigns) {
  const auto backend = make_cpu_backend();
  const Buffer buffer = random_f32(*backend, kMany / 4);
  size_t negative = 0;
  for (size_t i = 0; i < kMany / 4; ++i) {
    const float x = buffer.as<float>()[i];
    ASSERT_TRUE(std::abs(x) >= 0.5f && std::abs(x) < 2.0f) << x;
    negative += x < 0;
  }
  EXPECT_NEAR(double(negative) / double(kMany / 4), 0.5, 0.01);
}

TEST(RandomWeight, HasAllCodesAndItsRowsCanBeTakenOut) {
  const QuantizedWeight weight = random_weight(48, 256, *weight_scheme_from_name("lut4-g128"));
  ASSERT_EQ(weight.scale.shape(), (std::vector<int64_t>{48, 2}));
  std::set<int> codes;
  for (size_t i = 0; i < 256; ++i) codes.insert(packed_code(weight.packed.data<uint32_t>(), i, 4));
  EXPECT_EQ(codes.size(), 16u);
  for (const float scale : weight.scale.to_float())
    ASSERT_TRUE(scale >= 0x1p-8f && scale < 0x1p-7f) << scale;

  const QuantizedWeight some = rows_of(weight, {5, 47});
  EXPECT_EQ(some.n, 2);
  EXPECT_EQ(some.k, 256);
  for (int64_t word = 0; word < 32; ++word)
    EXPECT_EQ(some.packed.data<uint32_t>()[32 + word],
              weight.packed.data<uint32_t>()[47 * 32 + word]);
  EXPECT_EQ(some.scale.to_float()[1], weight.scale.to_float()[5 * 2 + 1]);
}

TEST(WithE4m3Product, KeepsTheCodesAndHasScalesThatAreE4m3NumbersByThePerTensorScale) {
  const QuantizedWeight exact = random_weight(48, 256, *weight_scheme_from_name("int4-g128"));
  const QuantizedWeight weight = with_e4m3_product(exact);
  EXPECT_EQ(name(weight.scheme), "int4-g128-e4m3");
  EXPECT_TRUE(std::ranges::equal(weight.packed.bytes(), exact.packed.bytes()));
  const std::vector<float> before = exact.scale.to_float(), after = weight.scale.to_float();
  ASSERT_EQ(after.size(), before.size());
  for (size_t i = 0; i < after.size(); ++i) {
    const float scaled = after[i] * weight.global_scale;
    EXPECT_EQ(fp8_round(scaled), scaled);
    EXPECT_NEAR(after[i] / before[i], 1, 0x1p-4);  // half of an e4m3 number's last bit
  }
  EXPECT_EQ(rows_of(weight, {3}).global_scale, weight.global_scale);
}

TEST(SpreadOver, GivesBothEndsAndWhatIsBetween) {
  EXPECT_EQ(spread_over(1, 64), (std::vector<int64_t>{0}));
  EXPECT_EQ(spread_over(3, 64), (std::vector<int64_t>{0, 1, 2}));
  EXPECT_EQ(spread_over(101, 3), (std::vector<int64_t>{0, 50, 100}));
}

}  // namespace
}  // namespace emberq::bench::operands_test
