#include "ops/cpu/round.h"

#include <gtest/gtest.h>

#include <atomic>
#include <cmath>

#include "base/parallel.h"
#include "format/fp16.h"
#include "format/fp8.h"

namespace emberq::cpu::round_test {
namespace {

float fp16_round(float x) { return fp16::from_float(x).to_float(); }

// The bits of some float of `first` ... `last`, every step-th of them, that `round` and `format`
// round differently, or -1.
int64_t difference(float first, float last, uint64_t step, float (*round)(float),
                   float (*format)(float)) {
  const uint64_t least = std::bit_cast<uint32_t>(first), end = std::bit_cast<uint32_t>(last);
  std::atomic<int64_t> found = -1;
  parallel_for(0, 1024, [&](int64_t block) {
    const uint64_t size = (end - least) / 1024 + 1, begin = least + uint64_t(block) * size;
    for (uint64_t bits = (begin + step - 1) / step * step; bits < begin + size; bits += step) {
      const float x = std::bit_cast<float>(uint32_t(bits));
      if (bits <= end && std::bit_cast<uint32_t>(round(x)) != std::bit_cast<uint32_t>(format(x)))
        found = int64_t(bits);
    }
  });
  return found;
}

TEST(RoundToE4m3, IsTheFormatsRoundingForEvery97thFloatUpTo448) {
  EXPECT_EQ(difference(0, 448, 97, round_to_e4m3, fp8_round), -1);
}
// Floats below the first are zero, and far from what is not.
TEST(RoundToE4m3Exhaustive, IsTheFormatsRoundingForEveryFloatUpTo448) {
  EXPECT_EQ(difference(0x1p-12f, 448, 1, round_to_e4m3, fp8_round), -1);
}
TEST(RoundToFp16, IsTheFormatsRoundingForEvery97thFloatUpTo65504) {
  EXPECT_EQ(difference(0, 65504, 97, round_to_fp16, fp16_round), -1);
}
TEST(RoundToFp16Exhaustive, IsTheFormatsRoundingForEveryFloatUpTo65504) {
  EXPECT_EQ(difference(0x1p-27f, 65504, 1, round_to_fp16, fp16_round), -1);
}

// The midpoints of all neighbours in [0, last] and the floats beside them.
template <class Decode>
void expect_midpoints(uint32_t last_code, float (*round)(float), const Decode& decode) {
  for (uint32_t code = 0; code < last_code; ++code) {
    const float low = decode(code), high = decode(code + 1), middle = low + (high - low) / 2;
    ASSERT_EQ(round(middle), code % 2 ? high : low) << middle;
    ASSERT_EQ(round(std::nextafter(middle, 0.0f)), low) << middle;
    ASSERT_EQ(round(std::nextafter(middle, 1e9f)), high) << middle;
  }
}

TEST(RoundToE4m3, PutsEveryMidpointToEvenAndItsNeighboursToTheNearer) {
  expect_midpoints(0x7e, round_to_e4m3, [](uint32_t code) { return fp8_decode(uint8_t(code)); });
}
TEST(RoundToFp16, PutsEveryMidpointToEvenAndItsNeighboursToTheNearer) {
  expect_midpoints(0x7bff, round_to_fp16,
                   [](uint32_t code) { return fp16{uint16_t(code)}.to_float(); });
}

}  // namespace
}  // namespace emberq::cpu::round_test
