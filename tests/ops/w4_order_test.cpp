// The device order of four-bit weights and their expansion, which run on the GPU, tried on the CPU.
#include <gtest/gtest.h>

#include <random>

#include "format/fp8.h"
#include "format/lut4.h"
#include "ops/cuda/linear/tile_order.h"

namespace emberq::device {
namespace {

using Codes = std::array<std::array<uint8_t, kW4Inputs>, kW4Rows>;

Codes random_codes() {
  Codes codes{};
  std::mt19937 random(1);
  for (auto& row : codes)
    for (uint8_t& u : row) u = uint8_t(random() % 16);
  return codes;
}

constexpr W4Codes kLayouts[] = {W4Codes::kSigned, W4Codes::kIntegers};

std::vector<uint32_t> tile_of(W4Codes layout, const Codes& codes) {
  std::vector<uint32_t> tile(size_t{kW4Words});
  for (int row = 0; row < kW4Rows; ++row)
    for (int k = 0; k < kW4Inputs; ++k) {
      const W4Place place = w4_place(layout, row, k);
      tile[size_t(place.word)] |= w4_bits(layout, place, codes[size_t(row)][size_t(k)]);
    }
  return tile;
}

TEST(W4Order, GivesEveryCodeBitsOfItsOwn) {
  for (const W4Codes layout : kLayouts) {
    std::vector<uint32_t> taken(size_t{kW4Words});
    for (int row = 0; row < kW4Rows; ++row)
      for (int k = 0; k < kW4Inputs; ++k) {
        const W4Place place = w4_place(layout, row, k);
        ASSERT_LT(place.word, kW4Words);
        uint32_t bits = 0;  // of any code
        for (uint32_t u = 0; u < 16; ++u) bits |= w4_bits(layout, place, u);
        ASSERT_EQ(taken[size_t(place.word)] & bits, 0u) << row << ", " << k;
        taken[size_t(place.word)] |= bits;
      }
    for (const uint32_t word : taken) EXPECT_EQ(word, 0xffffffffu);
  }
}

TEST(W4Order, MakesWordsOfFourCodesOfTwoRowsAsTheirPlacesSay) {
  const Codes codes = random_codes();
  const auto four = [&](int row, int k) {
    uint32_t nibbles = 0;
    for (int i = 0; i < 4; ++i) nibbles |= uint32_t(codes[size_t(row)][size_t(k + i)]) << 4 * i;
    return nibbles;
  };
  for (const W4Codes layout : kLayouts) {
    const std::vector<uint32_t> tile = tile_of(layout, codes);
    for (int row = 0; row < kW4Rows; row += row % 8 == 7 ? 9 : 1)  // those of even registers
      for (int k = 0; k < kW4Inputs; k += 4)
        EXPECT_EQ(w4_word(layout, four(row, k), four(row + 8, k)),
                  tile[size_t(w4_place(layout, row, k).word)])
            << row << ", " << k;
  }
}

// Every byte of every thread's registers is the one that the PTX ISA says: of the table of the even
// registers' rows or of the odd ones'.
template <class Expand>
void expect_operands(W4Codes layout, const std::array<uint8_t, 16>& even,
                     const std::array<uint8_t, 16>& odd, const Expand& expand) {
  const Codes codes = random_codes();
  const std::vector<uint32_t> tile = tile_of(layout, codes);
  const W4Table tables[2] = {w4_table(even), w4_table(odd)};
  for (int thread = 0; thread < 128; ++thread)
    for (int word = 0; word < 8; ++word) {
      const W4Pair pair =
          expand(tile[size_t(word / 4 * 512 + thread * 4 + word % 4)], tables[0], tables[1]);
      const int lane = thread % 32, step = word / 2;
      for (int h = 0; h < 2; ++h)
        for (int i = 0; i < 4; ++i) {
          const int r = word % 2 * 2 + h;
          const int row = 16 * (thread / 32) + lane / 4 + 8 * (r % 2);
          const int k = 32 * step + 16 * (r / 2) + 4 * (lane % 4) + i;
          const uint32_t byte = (h ? pair.odd : pair.even) >> 8 * i & 0xff;
          ASSERT_EQ(byte, (h ? odd : even)[codes[size_t(row)][size_t(k)]])
              << thread << ", " << word;
        }
    }
}

constexpr auto kExpandSigned = [](uint32_t word, const W4Table& even, const W4Table& odd) {
  return expand_signed(word, even, odd);
};
constexpr auto kExpandEach = [](uint32_t word, const W4Table& even, const W4Table& odd) {
  return expand_each(word, even, odd);
};

TEST(W4Order, ExpandsSignsAndMagnitudesToTheOperandsOfWgmma) {
  std::array<uint8_t, 16> lut4, others;
  for (uint8_t u = 0; u < 16; ++u) {
    lut4[u] = fp8_encode(lut4_decode(u));
    others[u] = fp8_encode(lut4_decode(u) * 0.33f);
  }
  expect_operands(W4Codes::kSigned, lut4, others, kExpandSigned);
  expect_operands(W4Codes::kSigned, lut4, others, kExpandEach);
}

TEST(W4Order, ExpandsAnyTablesToTheOperandsOfWgmma) {
  std::array<uint8_t, 16> integers, random;
  std::mt19937 source(2);
  for (uint8_t u = 0; u < 16; ++u)
    integers[u] = fp8_encode(float(u) - 8), random[u] = uint8_t(source());
  expect_operands(W4Codes::kIntProducts, random, integers, kExpandEach);
}

TEST(W4Order, ExpandsIntegersToTheOperandsOfWgmmaWithoutATable) {
  std::array<uint8_t, 16> integers;
  for (uint8_t u = 0; u < 16; ++u) {
    integers[u] = fp8_encode((float(u) - 8) / kW4IntegerFactor);
    EXPECT_EQ(fp8_decode(integers[u]) * kW4IntegerFactor, float(u) - 8);  // none is rounded
  }
  expect_operands(
      W4Codes::kIntegers, integers, integers,
      [](uint32_t word, const W4Table&, const W4Table&) { return expand_integers(word); });
}

TEST(W4Order, MakesTheTableOfAScaleFromItsNegativeProducts) {
  std::mt19937 source(3);
  for (int i = 0; i < 1000; ++i) {
    const float scale = fp8_decode(uint8_t(source() % 0x7f | (source() & 0x80)));
    uint32_t negative[2] = {};
    std::array<uint8_t, 16> all;
    for (int u = 0; u < 16; ++u) {
      all[size_t(u)] = fp8_encode(float(u - 8) * scale);
      if (u < 8) negative[u / 4] |= uint32_t(all[size_t(u)]) << u % 4 * 8;
    }
    const W4Table table = with_positive(negative[0], negative[1]), expected = w4_table(all);
    for (int u = 0; u < 16; ++u) {
      const auto number = [u](const W4Table& t) {
        return fp8_decode(uint8_t(t.words[u / 4] >> u % 4 * 8));
      };
      EXPECT_EQ(number(table), number(expected)) << u << " x " << scale;  // either zero
    }
  }
}

}  // namespace
}  // namespace emberq::device
