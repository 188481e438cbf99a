#include "ops/cuda/rows/row_quotient.cuh"

#include <gtest/gtest.h>

#include <atomic>
#include <bit>

#include "base/parallel.h"
#include "format/scale.h"

namespace emberq::row_quotient_test {
namespace {

// By the definition and by the quotient.
bool agrees(float y, float scale, const cuda::RowQuotient& quotient) {
  return fp8_encode(quotient(y)) == fp8_quantize(y, scale);
}

// Counts the disagreements over `exponents` of the scale, every step-th of its significands, and y
// from `floats` floats below to as many above its product with each midpoint between codes (a
// significand of up to five bits). Elsewhere both quotients are far from where their last bits
// matter: a quotient of two floats is off by less than two of its last places.
int64_t disagreements(uint32_t step, uint32_t floats, std::initializer_list<int> exponents) {
  std::atomic<int64_t> total = 0;
  parallel_for(0, 1 << 10, [&](int64_t block) {
    int64_t count = 0;
    for (uint32_t fraction = uint32_t(block); fraction < 1 << 23; fraction += step << 10)
      for (const int exponent : exponents) {
        const float scale = std::bit_cast<float>(uint32_t(exponent + 127) << 23 | fraction);
        const cuda::RowQuotient quotient(scale);
        for (int midpoint = 16; midpoint < 32; ++midpoint) {
          const uint32_t y = std::bit_cast<uint32_t>(float(midpoint) * scale);
          for (uint32_t near = y - floats; near <= y + floats; ++near)
            count += !agrees(std::bit_cast<float>(near), scale, quotient);
        }
      }
    total += count;
  });
  return total;
}

TEST(RowQuotient, EncodesAsTheDivisionDoesAroundEveryBoundaryOfCodes) {
  // From subnormal to huge scales; powers of two between change nothing.
  EXPECT_EQ(disagreements(997, 8, {-127, -126, -65, -64, -20, 0, 20, 63, 64, 65, 118}), 0);
}
TEST(RowQuotientExhaustive, EncodesAsTheDivisionDoesForEverySignificand) {
  EXPECT_EQ(disagreements(1, 2, {0}), 0);
}

TEST(RowQuotient, EncodesZerosWithTheirSigns) {
  for (const float scale : {1.0f, 0.3f, 1e-30f, 1e30f, 1e-44f}) {
    const cuda::RowQuotient quotient(scale);
    EXPECT_EQ(fp8_encode(quotient(0.0f)), 0x00) << scale;
    EXPECT_EQ(fp8_encode(quotient(-0.0f)), 0x80) << scale;
    EXPECT_EQ(fp8_encode(quotient(-1e-45f)), fp8_quantize(-1e-45f, scale)) << scale;
  }
}

TEST(RowQuotient, OfTheLargestMagnitudeIsTheLargestCode) {
  for (uint32_t bits = std::bit_cast<uint32_t>(1e-38f); bits < 0x7f800000; bits += 10007) {
    const float absmax = std::bit_cast<float>(bits);
    ASSERT_EQ(fp8_encode(cuda::RowQuotient(fp8_row_scale(absmax))(absmax)), 0x7e) << absmax;
  }
}

TEST(RowQuotient, OfNanIsNan) {
  EXPECT_TRUE(std::isnan(cuda::RowQuotient(1.0f)(NAN)));
  EXPECT_TRUE(std::isnan(cuda::RowQuotient(NAN)(1.0f)));
}

}  // namespace
}  // namespace emberq::row_quotient_test
