#include "format/fp8.h"

#include <gtest/gtest.h>

#include <atomic>
#include <cmath>

#include "base/parallel.h"
#if __has_include(<cuda_fp8.h>)
#include <cuda_fp8.h>
#endif

namespace emberq::fp8_test {
namespace {

bool is_nan(uint8_t code) { return (code & 0x7f) == 0x7f; }

TEST(Fp8, EveryCodeSurvivesARoundTrip) {
  for (int code = 0; code < 256; ++code) {
    if (is_nan(uint8_t(code))) continue;
    EXPECT_EQ(fp8_encode(fp8_decode(uint8_t(code))), code);
    EXPECT_EQ(fp8_encode(double(fp8_decode(uint8_t(code)))), code);
  }
}

TEST(Fp8, DecodesByTheFormatsDefinition) {
  for (int code = 0; code < 256; ++code) {
    if (is_nan(uint8_t(code))) {
      EXPECT_TRUE(std::isnan(fp8_decode(uint8_t(code))));
      continue;
    }
    const int exponent = code >> 3 & 15, mantissa = code & 7;
    const double magnitude =
        exponent ? std::ldexp(1 + mantissa / 8.0, exponent - 7) : std::ldexp(mantissa / 8.0, -6);
    EXPECT_EQ(fp8_decode(uint8_t(code)), code & 0x80 ? -magnitude : magnitude) << code;
  }
}

TEST(Fp8, RoundsEveryMidpointToTheEvenCodeAndItsNeighboursToTheNearer) {
  for (int code = 0; code < 0x7e; ++code) {
    const double low = double(fp8_decode(uint8_t(code))),
                 high = double(fp8_decode(uint8_t(code + 1)));
    const double middle = (low + high) / 2;
    const int even = code % 2 ? code + 1 : code;
    EXPECT_EQ(fp8_encode(float(middle)), even) << middle;
    EXPECT_EQ(fp8_encode(-float(middle)), even | 0x80) << middle;
    EXPECT_EQ(fp8_encode(std::nextafter(float(middle), 0.0f)), code);
    EXPECT_EQ(fp8_encode(std::nextafter(float(middle), 1e9f)), code + 1);
    // A double nearer to the midpoint than any float is rounded once, not twice.
    EXPECT_EQ(fp8_encode(std::nextafter(middle, 0.0)), code);
    EXPECT_EQ(fp8_encode(std::nextafter(middle, 1e9)), code + 1);
    EXPECT_EQ(fp8_encode(-std::nextafter(middle, 1e9)), (code + 1) | 0x80);
  }
}

TEST(Fp8, SaturatesInsteadOfOverflowing) {
  for (const float x : {449.0f, 464.0f, 480.0f, 1e9f, INFINITY}) {
    EXPECT_EQ(fp8_encode(x), 0x7e);
    EXPECT_EQ(fp8_encode(-x), 0xfe);
    EXPECT_EQ(fp8_encode(double(x)), 0x7e);
  }
  EXPECT_EQ(fp8_encode(1e300), 0x7e);
}

TEST(Fp8, KeepsNan) {
  EXPECT_TRUE(is_nan(fp8_encode(NAN)));
  EXPECT_TRUE(is_nan(fp8_encode(double(NAN))));
}

#if __has_include(<cuda_fp8.h>)
// The first of every `step`-th float that the toolkit encodes otherwise, or none. Of exponents
// from the least to the last: smaller floats are zero, larger ones the largest.
void expect_the_toolkits(uint64_t step, int least_exponent = -127, int last_exponent = 128) {
  std::atomic<int64_t> different = -1;
  parallel_for(0, 4096, [&](int64_t block) {
    const uint64_t begin = uint64_t(block) << 20, end = begin + (uint64_t(1) << 20);
    const int exponent = int(begin >> 23 & 0xff) - 127;
    if (exponent < least_exponent || exponent > last_exponent) return;
    for (uint64_t bits = (begin + step - 1) / step * step; bits < end; bits += step) {
      const float x = std::bit_cast<float>(uint32_t(bits));
      const uint8_t ours = fp8_encode(x),
                    theirs = __nv_cvt_float_to_fp8(x, __NV_SATFINITE, __NV_E4M3);
      if (ours != theirs && !(is_nan(ours) && is_nan(theirs))) different = int64_t(bits);
    }
  });
  EXPECT_EQ(different, -1) << std::bit_cast<float>(uint32_t(different));
}

TEST(Fp8, EncodesEvery97thFloatAsTheToolkitDoes) { expect_the_toolkits(97); }
TEST(Fp8Exhaustive, EncodesEveryFloatAsTheToolkitDoes) { expect_the_toolkits(1, -12, 10); }
#else
TEST(Fp8, EncodesEvery97thFloatAsTheToolkitDoes) { GTEST_SKIP() << "needs cuda_fp8.h"; }
TEST(Fp8Exhaustive, EncodesEveryFloatAsTheToolkitDoes) { GTEST_SKIP() << "needs cuda_fp8.h"; }
#endif

}  // namespace
}  // namespace emberq::fp8_test
