// The other formats: 16-bit floats, integer codes, packing, scales, scheme names.
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <random>
#include <vector>

#include "format/bf16.h"
#include "format/dtype.h"
#include "format/fp16.h"
#include "format/int4.h"
#include "format/int6.h"
#include "format/pack.h"
#include "format/scale.h"
#include "format/scheme.h"

namespace emberq::format_test {
namespace {

template <class Half>
void expect_all_codes_round_trip() {
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    const float x = Half{uint16_t(bits)}.to_float();
    if (std::isnan(x))
      EXPECT_TRUE(std::isnan(Half::from_float(x).to_float()));
    else
      ASSERT_EQ(Half::from_float(x).bits, bits);
  }
}

TEST(Bf16, EveryCodeSurvivesARoundTrip) { expect_all_codes_round_trip<bf16>(); }
TEST(Fp16, EveryCodeSurvivesARoundTrip) { expect_all_codes_round_trip<fp16>(); }

// Midpoints of all positive neighbours go to the even code, and their float neighbours to the
// nearer.
template <class Half>
void expect_ties_to_even(uint32_t largest_finite) {
  for (uint32_t bits = 0; bits < largest_finite; ++bits) {
    const double low = double(Half{uint16_t(bits)}.to_float()),
                 high = double(Half{uint16_t(bits + 1)}.to_float());
    const float middle = float((low + high) / 2);
    if (double(middle) != (low + high) / 2) continue;  // BF16 subnormals: no float lies between
    ASSERT_EQ(Half::from_float(middle).bits, bits % 2 ? bits + 1 : bits) << middle;
    ASSERT_EQ(Half::from_float(std::nextafter(middle, 0.0f)).bits, bits) << middle;
    ASSERT_EQ(Half::from_float(std::nextafter(middle, INFINITY)).bits, bits + 1) << middle;
    ASSERT_EQ(Half::from_float(-middle).bits, (bits % 2 ? bits + 1 : bits) | 0x8000);
  }
}

TEST(Bf16, RoundsToNearestEven) { expect_ties_to_even<bf16>(0x7f7f); }
TEST(Fp16, RoundsToNearestEven) { expect_ties_to_even<fp16>(0x7bff); }

TEST(Fp16, OverflowsToInfinityFrom65520) {
  EXPECT_EQ(fp16::from_float(65519.996f).bits, 0x7bff);
  EXPECT_EQ(fp16::from_float(65520.0f).bits, 0x7c00);
  EXPECT_EQ(fp16::from_float(-INFINITY).bits, 0xfc00);
}

#if defined(__FLT16_MANT_DIG__)
TEST(Fp16, EncodesEvery97thFloatAsTheCompilerDoes) {
  for (uint64_t bits = 0; bits < uint64_t(1) << 32; bits += 97) {
    const float x = std::bit_cast<float>(uint32_t(bits));
    if (std::isnan(x)) continue;
    ASSERT_EQ(fp16::from_float(x).bits, std::bit_cast<uint16_t>(_Float16(x))) << x;
  }
}
#endif

TEST(Int4, EveryCodeSurvivesARoundTrip) {
  for (int code = Int4::kMin; code <= Int4::kMax; ++code)
    EXPECT_EQ(int4_decode(int4_encode(code)), code);
}

// Packing by its definition: a string of bits.
TEST(Pack, IsAStringOfBitsLittleEndFirst) {
  std::mt19937 random(1);
  for (int bits = 1; bits <= 8; ++bits)
    for (const size_t count : {1u, 2u, 5u, 31u, 32u, 33u, 128u, 131u}) {
      std::vector<uint32_t> words(packed_words(count, bits));
      std::vector<int> codes;
      std::vector<bool> expected(words.size() * 32);
      for (size_t i = 0; i < count; ++i) {
        codes.push_back(int(random() % (1u << bits)) - (1 << (bits - 1)));
        pack_code(words.data(), i, bits, codes.back());
        for (int b = 0; b < bits; ++b)
          expected[i * size_t(bits) + size_t(b)] = (codes.back() + (1 << (bits - 1))) >> b & 1;
      }
      for (size_t b = 0; b < expected.size(); ++b)
        ASSERT_EQ((words[b / 32] >> (b % 32) & 1) != 0, expected[b])
            << bits << " bits, " << count << " codes";
      for (size_t i = 0; i < count; ++i) ASSERT_EQ(packed_code(words.data(), i, bits), codes[i]);
    }
}

TEST(Pack, OfFourBitsPutsEightCodesInAWordLowestFirst) {
  uint32_t word = 0;
  for (int i = 0; i < 8; ++i) pack_code(&word, size_t(i), 4, i - 8);
  EXPECT_EQ(word, 0x76543210u);
}

TEST(Scale, RoundsHalvesToEven) {
  for (int i = -100; i <= 100; ++i) {
    EXPECT_EQ(round_half_even(i + 0.5), i % 2 == 0 ? i : i + 1);
    EXPECT_EQ(round_half_even(float(i) + 0.5f), i % 2 == 0 ? i : i + 1);
    EXPECT_EQ(round_half_even(i + 0.4999), i);
  }
}

TEST(Scale, OfE4m3IsFlooredAtTwoToTheMinus9) {
  EXPECT_EQ(e4m3_scale(0.0f, 7).value(), 0x1p-9f);
  EXPECT_EQ(e4m3_scale(1e-30, 7).value(), 0x1p-9f);
  EXPECT_EQ(e4m3_scale(7.0f, 7).value(), 1.0f);
  EXPECT_EQ(e4m3_scale(7 * 1.06, 7).value(), 1.0f);    // below the midpoint to 1.125
  EXPECT_EQ(e4m3_scale(7 * 1.07, 7).value(), 1.125f);  // above it
  EXPECT_EQ(e4m3_scale(1e9f, 7).value(), 448.0f);
}

TEST(Scale, IsTheDivisor) {
  const E4m3Scale scale = e4m3_scale(1.0f, 7);  // 1 / 7 = 0.1429 rounds to 0.140625
  EXPECT_EQ(scale.value(), 0.140625f);
  EXPECT_EQ(quantize<Int4>(0.140625f * 2.5f, scale), 2);  // a half, to even
  EXPECT_EQ(quantize<Int4>(0.140625f * 3.5f, scale), 4);
  EXPECT_EQ(quantize<Int4>(1e9f, scale), 7);
  EXPECT_EQ(quantize<Int4>(-1e9, scale), -8);
  EXPECT_EQ(quantize<Int6>(1e9f, scale), 31);
  EXPECT_EQ(quantize<Int6>(-1e9f, scale), -32);
}

// Rounding an e4m3 scale down by up to 1/16 leaves 7.4 for the largest magnitude; only the coarse
// scales below 2^-6 lose more.
TEST(Scale, GivesCodeMinus8OnlyWhereASubnormalScaleRoundedDown) {
  for (float absmax = 0x1p-10f; absmax < 448 * 7; absmax *= 1.001f) {
    const E4m3Scale scale = e4m3_scale(absmax, Int4::kMax);
    const bool coarse = scale.value() < 0x1p-6f;
    ASSERT_LE(quantize<Int4>(absmax, scale), 7);
    ASSERT_GE(quantize<Int4>(-absmax, scale), coarse ? -8 : -7) << absmax;
  }
  const float absmax = 7 * 1.4f * 0x1p-9f;  // scale 1.4 * 2^-9 rounds to 2^-9
  EXPECT_EQ(quantize<Int4>(-absmax, e4m3_scale(absmax, Int4::kMax)), -8);
  EXPECT_EQ(quantize<Int4>(absmax, e4m3_scale(absmax, Int4::kMax)), 7);
}

TEST(Scale, OfBf16HasAFloorForZeros) {
  EXPECT_EQ(bf16_scale(0, 7).value(), bf16::from_float(1e-5f / 7).to_float());
  EXPECT_EQ(bf16_scale(7, 7).value(), 1.0f);
}

TEST(E4m3Product, IsExactForPowersOfTwoAndRoundedForTheOthers) {
  const E4m3Scale scale{fp8_encode(1.125f)};
  for (const int code : {-8, -4, -2, -1, 0, 1, 2, 4})
    EXPECT_EQ(fp8_decode(e4m3_product(code, scale)), float(code) * 1.125f);
  EXPECT_EQ(fp8_decode(e4m3_product(3, scale)), 3.5f);    // 3.375: between 3.25 and 3.5, to even
  EXPECT_EQ(fp8_decode(e4m3_product(-7, scale)), -8.0f);  // -7.875: between -7.5 and -8
}

TEST(Fp8Row, OfZerosHasScaleOne) {
  EXPECT_EQ(fp8_row_scale(0), 1.0f);
  EXPECT_EQ(fp8_row_scale(448), 1.0f);
  EXPECT_EQ(fp8_quantize(-448, fp8_row_scale(448)), 0xfe);
}

TEST(Fp8Row, OfMagnitudesWhoseScaleUnderflowsIsARowOfZeros) {
  const float scale = fp8_row_scale(1e-44f);  // over 448: less than half the smallest float
  EXPECT_EQ(fp8_quantize(0.0f, scale), 0);
  EXPECT_EQ(fp8_quantize(1e-44f, scale), 0);
}

TEST(Scheme, NamesAreReadBack) {
  for (const WeightScheme& scheme :
       {WeightScheme{4, 128, Dequant::kE4m3}, WeightScheme{4, 32, Dequant::kExact},
        WeightScheme{6, 64, Dequant::kExact}})
    EXPECT_EQ(weight_scheme_from_name(name(scheme)), scheme) << name(scheme);
  EXPECT_EQ(name(WeightScheme{}), "int4-g128");
  EXPECT_EQ(kv_scheme_from_name("int4-head"), KvScheme::kInt4Head);
  EXPECT_EQ(activation_scheme_from_name("fp8-token"), ActivationScheme::kFp8Token);
  for (const char* activation : {"none", "fp8-token", "int8-token", "int8-g32", "int8-g64",
                                 "int8-g128", "int6-g32", "int6-g64", "int6-g128"})
    EXPECT_EQ(name(activation_scheme_from_name(activation).value()), activation);
  EXPECT_EQ(query_scheme_from_name("fp8-head"), QueryScheme::kFp8Head);
}

TEST(Scheme, RefusesOtherNames) {
  for (const char* bad :
       {"", "int", "int4", "int4-g", "int4-g0", "int9-g128", "int4-g128-", "int4-g128-e5m2", "w4"})
    EXPECT_FALSE(weight_scheme_from_name(bad)) << bad;
  EXPECT_FALSE(kv_scheme_from_name("kv4"));
  for (const char* bad :
       {"", "int8", "int6-token", "int8-g96", "int8-g", "int8-g128-", "fp8e4m3-g128"})
    EXPECT_FALSE(activation_scheme_from_name(bad)) << bad;
}

TEST(DTypes, AreFoundByTheirSafetensorsNames) {
  for (const DTypeInfo& d : kDTypes) EXPECT_EQ(dtype_from_name(d.name), d.type);
  EXPECT_FALSE(dtype_from_name("F4"));
}

}  // namespace
}  // namespace emberq::format_test
