#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "format/kv_encode.h"
#include "support/kv_schemes.h"
#include "support/random.h"

namespace emberq::kv_code_test {
namespace {

// A vector through a scheme and back.
struct RoundTrip {
  std::vector<uint8_t> codes;    // one each
  std::vector<float> values;     // as decoded
  std::vector<double> possible;  // what the scheme can say at this scale, by ops/kv_layer.h
};

std::vector<double> possible_values(KvScheme scheme, double scale, double min) {
  std::vector<double> values;
  if (scheme == KvScheme::kInt4Head)
    for (int q = -8; q <= 7; ++q) values.push_back(q * scale);
  if (scheme == KvScheme::kInt4Asym || scheme == KvScheme::kInt4AsymMse)
    for (int q = 0; q <= 15; ++q) values.push_back(min + q * scale);
  if (scheme == KvScheme::kLut4Head)
    for (const double m : {12, 36, 60, 88, 112, 144, 176, 224})
      values.push_back(m * scale), values.push_back(-m * scale);
  if (scheme == KvScheme::kInt8Head)
    for (int q = -127; q <= 127; ++q) values.push_back(q * scale);
  return values;
}

double value_of(E4m3Scale scale) { return double(scale.value()); }
double value_of(Bf16Scale scale) { return double(scale.value()); }
double value_of(ZeroScale scale) { return double(scale.scale.to_float()); }
double min_of(ZeroScale scale) { return double(scale.min.to_float()); }
template <class Scale>
double min_of(Scale) {
  return 0;
}

RoundTrip round_trip(KvScheme scheme, const std::vector<float>& x) {
  return with_kv_code(scheme, [&]<class Code>(Code) {
    RoundTrip trip{{}, std::vector<float>(x.size()), {}};
    std::vector<uint8_t> packed(x.size() * size_t(Code::kBits) / 8);
    const auto scale = kv_encode<Code>(x, packed.data());
    kv_decode<Code>(packed.data(), scale, trip.values);
    for (size_t i = 0; i < x.size(); ++i)  // the even channel in the low half of a byte
      trip.codes.push_back(Code::kBits == 8 ? packed[i]
                                            : uint8_t(packed[i / 2] >> (i % 2 * 4) & 15));
    trip.possible = possible_values(scheme, value_of(scale), min_of(scale));
    return trip;
  });
}

// Vectors that break things, and random ones of several lengths.
std::vector<std::vector<float>> vectors() {
  std::vector<std::vector<float>> all = {
      {0, 0},
      {-0.0f, 0, 0, -0.0f},
      {1, -1},
      {3.25f, 3.25f, 3.25f, 3.25f},
      {-7, -7, -7, -7},
      {1e-40f, -1e-41f, 3e-42f, 0},
      {1e-6f, 2e-6f, 3e-6f, -1e-7f},
      {1e30f, -1e30f, 1, 0},
      {3e38f, -3e38f},
      {65504, -65504, 70000, 1e5f},
      {100, 101, 102, 103, 104, 105},
      {1e4f, 1e4f + 1, 1e4f + 2, 1e4f + 3},
  };
  for (const size_t dim : {2u, 6u, 64u, 128u, 256u})
    for (const float sigma : {1e-4f, 1.0f, 50.0f})
      for (uint64_t seed = 0; seed < 4; ++seed)
        all.push_back(test::normal_floats(dim, seed, sigma));
  all.push_back(test::normal_floats(128, 9));
  all.back()[77] = -300;  // one outlier
  return all;
}

class KvCodeTest : public testing::TestWithParam<KvScheme> {};

TEST_P(KvCodeTest, GivesEachChannelTheNearestOfTheSchemesValues) {
  for (const std::vector<float>& x : vectors()) {
    const RoundTrip trip = round_trip(GetParam(), x);
    for (size_t i = 0; i < x.size(); ++i) {
      const double value = double(x[i]), got = double(trip.values[i]);
      double least = INFINITY, nearest_to_got = INFINITY;
      for (const double possible : trip.possible) {
        least = std::min(least, std::abs(value - possible));
        nearest_to_got = std::min(nearest_to_got, std::abs(got - possible));
      }
      // A possible value, which only zero points round; and the nearest one but for the rounding of
      // the float quotient, which can decide a tie of two.
      ASSERT_LE(nearest_to_got, 0x1p-24 * std::abs(got)) << value;
      ASSERT_LE(std::abs(value - got), least * (1 + 0x1p-18) + 0x1p-22 * std::abs(value)) << value;
    }
  }
}

TEST_P(KvCodeTest, GivesEqualChannelsEqualCodes) {
  std::vector<float> x = test::normal_floats(64, 3);
  for (size_t i = 0; i < 32; ++i) x[63 - i] = x[i];
  const RoundTrip trip = round_trip(GetParam(), x);
  for (size_t i = 0; i < 32; ++i) EXPECT_EQ(trip.codes[63 - i], trip.codes[i]);
}

// Rounding moves a channel by at most half of the widest step, and what a scale or a search takes
// off the ends by no more than a whole one: an absolute bound on every channel.
TEST_P(KvCodeTest, LosesNoMoreThanAStepOfTheLargestMagnitude) {
  for (const size_t dim : {2u, 64u, 128u}) {
    const std::vector<float> x = test::normal_floats(dim, 5);
    const RoundTrip trip = round_trip(GetParam(), x);
    const double absmax = double(kv_extent(x).absmax());
    const double bound = GetParam() == KvScheme::kLut4Head   ? absmax / 4  // 1 - 0.75
                         : GetParam() == KvScheme::kInt8Head ? absmax / 127
                                                             : absmax / 7;
    for (size_t i = 0; i < dim; ++i)
      EXPECT_NEAR(double(trip.values[i]), double(x[i]), bound * (1 + 0x1p-3));
  }
}

INSTANTIATE_TEST_SUITE_P(Schemes, KvCodeTest, testing::ValuesIn(test::coded_kv_schemes()),
                         [](const auto& p) {
                           std::string text(name(p.param));
                           std::replace(text.begin(), text.end(), '-', '_');
                           return text;
                         });

TEST(KvInt4Head, DividesTheLargestMagnitudeBySevenAndFloorsTheScale) {
  EXPECT_EQ(kv_scale<KvInt4Head>(std::vector<float>{3.3f, -1}).value(), 0.46875f);
  EXPECT_EQ(kv_scale<KvInt4Head>(std::vector<float>{0, 0}).value(), 0x1p-9f);
}

TEST(KvInt4Asym, SpansFromTheSmallestToTheLargest) {
  const RoundTrip trip = round_trip(KvScheme::kInt4Asym, {-1, 14, 2.4f, 2.6f});
  EXPECT_EQ(trip.codes, (std::vector<uint8_t>{0, 15, 3, 4}));
  EXPECT_EQ(trip.values, (std::vector<float>{-1, 14, 2, 3}));
}

TEST(KvInt4Asym, HasScaleOneWhereTheScaleWouldBeZero) {
  for (const std::vector<float>& x :
       {std::vector<float>{0, 0}, {-2.5f, -2.5f}, {1e-7f, 2e-7f}, {1e-40f, -1e-40f}})
    EXPECT_EQ(kv_scale<KvInt4Asym>(x).scale.to_float(), 1.0f);
  const RoundTrip constant = round_trip(KvScheme::kInt4Asym, {-2.5f, -2.5f});
  EXPECT_EQ(constant.values, (std::vector<float>{-2.5f, -2.5f}));
}

TEST(KvInt4Asym, SaturatesWhereFp16Ends) {
  const ZeroScale scale = kv_scale<KvInt4Asym>(std::vector<float>{3e38f, -3e38f});
  EXPECT_EQ(scale.min.to_float(), -65504.0f);
  EXPECT_EQ(scale.scale.to_float(), 65504.0f);
}

TEST(KvInt8Head, UsesTheBf16NearestToTheLargestMagnitudeOver127) {
  for (const float absmax : {1.0f, 0.3f, 77.7f, 1e-4f, 1e30f}) {
    const Bf16Scale scale = kv_scale<KvInt8Head>(std::vector<float>{absmax, -absmax / 3});
    const double exact = double(absmax) / 127, at = double(scale.value());
    const double above = double(bf16{uint16_t(scale.stored.bits + 1)}.to_float()),
                 below = double(bf16{uint16_t(scale.stored.bits - 1)}.to_float());
    EXPECT_LE(std::abs(exact - at), std::abs(exact - above));
    EXPECT_LE(std::abs(exact - at), std::abs(exact - below));
  }
  EXPECT_EQ(kv_scale<KvInt8Head>(std::vector<float>{0, 0}).value(), bf16_scale(1e-5, 127).value());
}

TEST(KvInt8Head, NeverUsesMinus128) {
  for (float absmax = 1; absmax < 2; absmax *= 1.0001f) {
    const RoundTrip trip = round_trip(KvScheme::kInt8Head, {-absmax, absmax});
    ASSERT_EQ(trip.codes, (std::vector<uint8_t>{0x81, 0x7f})) << absmax;
  }
}

// The search by its definition: each candidate through codes and back, in turn, with double sums.
template <class Code>
double squared_error(const std::vector<float>& x, typename Code::Scale scale) {
  double sum = 0;
  for (const float value : x) {
    const double error =
        double(value) - double(Code::decode(Code::encode(value, Code::factors(scale)), scale));
    sum += error * error;
  }
  return sum;
}

template <class Code>
void expect_least_error() {
  for (const std::vector<float>& x : vectors()) {
    const double taken = squared_error<Code>(x, kv_scale<Code>(x));
    // Float sums of at most 8 terms in a row, and five joins; a quotient that is a product with a
    // reciprocal turns a tie of two codes alone.
    for (int i = 0; i < Code::kCandidates; ++i)
      EXPECT_LE(taken, squared_error<Code>(x, Code::candidate(kv_extent(x), i)) * (1 + 0x1p-18))
          << "candidate " << i;
  }
}

TEST(KvLut4Head, TakesTheScaleOfLeastSquaredError) { expect_least_error<KvLut4Head>(); }
TEST(KvInt4AsymMse, TakesTheRangeOfLeastSquaredError) { expect_least_error<KvInt4AsymMse>(); }

TEST(KvInt4AsymMse, BeginsWithTheWholeSpan) {
  for (const std::vector<float>& x : vectors()) {
    const ZeroScale whole = KvInt4AsymMse::candidate(kv_extent(x), 0);
    EXPECT_EQ(whole.scale.bits, kv_scale<KvInt4Asym>(x).scale.bits);
    EXPECT_EQ(whole.min.to_float(), kv_scale<KvInt4Asym>(x).min.to_float());
  }
}

TEST(KvInt4AsymMse, LosesLessThanTheWholeSpanOnABellShapedVector) {
  for (uint64_t seed = 0; seed < 20; ++seed) {
    const std::vector<float> x = test::normal_floats(128, seed);
    EXPECT_LT(squared_error<KvInt4AsymMse>(x, kv_scale<KvInt4AsymMse>(x)),
              squared_error<KvInt4Asym>(x, kv_scale<KvInt4Asym>(x)));
  }
}

// No scale and zero point near the chosen ones is much better: the fit has come to rest.
TEST(KvInt4AsymMse, IsFittedToItsOwnCodes) {
  double chosen = 0, ranges = 0, fitted = 0;
  for (uint64_t seed = 0; seed < 50; ++seed) {
    const std::vector<float> x = test::normal_floats(128, seed);
    const ZeroScale scale = kv_scale<KvInt4AsymMse>(x);
    chosen += squared_error<KvInt4AsymMse>(x, scale);
    double least = INFINITY;
    for (int i = 0; i < KvInt4AsymMse::kCandidates; ++i)
      least = std::min(least,
                       squared_error<KvInt4AsymMse>(x, KvInt4AsymMse::candidate(kv_extent(x), i)));
    ranges += least;
    // The regression of x over its codes, in double: what one more fit would reach at best.
    const KvFactors factors = KvInt4AsymMse::factors(scale);
    double codes = 0, squares = 0, sum = 0, product = 0;
    for (const float value : x) {
      const double code = KvInt4AsymMse::encode(value, factors);
      codes += code, squares += code * code, sum += double(value), product += code * double(value);
    }
    const double n = double(x.size());
    const double slope = (n * product - codes * sum) / (n * squares - codes * codes),
                 offset = (sum - slope * codes) / n;
    for (const float value : x) {
      const double code = KvInt4AsymMse::encode(value, factors);
      fitted += std::pow(double(value) - offset - slope * code, 2);
    }
  }
  EXPECT_LT(chosen, 0.985 * ranges);
  EXPECT_LT(chosen, 1.01 * fitted);
}

TEST(KvInt4AsymMse, StoresTwoLevelsExactly) {
  for (const auto& [low, high] : {std::pair{-1.0f, 14.0f}, {0.0f, 7.5f}, {-30.0f, 0.0f}}) {
    std::vector<float> x(64, low);
    for (size_t i = 0; i < x.size(); i += 3) x[i] = high;
    EXPECT_EQ(round_trip(KvScheme::kInt4AsymMse, x).values, x);
  }
}

TEST(KvLut4Head, ClipsOneOutlierWhereManyOtherChannelsAreExactThen) {
  for (const float candidate : {0.95f, 0.9f, 0.85f, 0.8f}) {
    const Bf16Scale scale = bf16_scale(double(candidate), 224);
    std::vector<float> x(256, 224 * scale.value());
    x[1] = 1;
    EXPECT_EQ(kv_scale<KvLut4Head>(x).value(), scale.value()) << candidate;
  }
}

TEST(KvLut4Head, OfZerosHasTheScaleOfTheLeastMagnitude) {
  EXPECT_EQ(kv_scale<KvLut4Head>(std::vector<float>{0, 0}).value(), bf16_scale(1e-5, 224).value());
}

TEST(Lut4, RoundsToTheValueOfTheCode) {
  for (float x = 0; x < 300; x += 0.03125f)
    for (const float signed_x : {x, -x, std::nextafter(x, 1e9f)})
      ASSERT_EQ(lut4_round(signed_x), lut4_decode(lut4_encode(signed_x))) << signed_x;
}

TEST(KvCode, OfValuesAsComputedDoesNotExist) {
  EXPECT_THROW(with_kv_code(KvScheme::kFp, []<class Code>(Code) { return 0; }), Error);
}

}  // namespace
}  // namespace emberq::kv_code_test
