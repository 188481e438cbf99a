// The device order of four-bit weights and their expansion for wgmma, run on the CPU.
#include "ops/cuda/linear/tile_order.h"

#include <gtest/gtest.h>

#include <random>

#include "format/fp8.h"
#include "format/lut4.h"
#include "ops/cuda/linear/expand.h"

namespace emberq::cuda::tile_order_test {
namespace {

using Codes = std::array<std::array<uint8_t, kTileInputs>, kTileRows>;

Codes random_codes() {
  Codes codes{};
  std::mt19937 random(1);
  for (auto& row : codes)
    for (uint8_t& u : row) u = uint8_t(random() % 16);
  return codes;
}

template <class Tile>
std::vector<uint32_t> tile_of(const Codes& codes) {
  std::vector<uint32_t> tile(size_t{kTileWords});
  for (int row = 0; row < kTileRows; ++row)
    for (int k = 0; k < kTileInputs; ++k) {
      const CodePlace place = Tile::place(row, k);
      tile[size_t(place.word)] |= Tile::bits(place, codes[size_t(row)][size_t(k)]);
    }
  return tile;
}

template <class Tile>
class TileOrder : public testing::Test {};
using Tiles = testing::Types<Lut4Tile, Int4Tile, E4m3Tile>;
TYPED_TEST_SUITE(TileOrder, Tiles);

TYPED_TEST(TileOrder, GivesEveryCodeBitsOfItsOwn) {
  using Tile = TypeParam;
  std::vector<uint32_t> taken(size_t{kTileWords});
  for (int row = 0; row < kTileRows; ++row)
    for (int k = 0; k < kTileInputs; ++k) {
      const CodePlace place = Tile::place(row, k);
      ASSERT_LT(place.word, kTileWords);
      uint32_t bits = 0;  // of any code
      for (uint32_t u = 0; u < 16; ++u) bits |= Tile::bits(place, u);
      ASSERT_EQ(taken[size_t(place.word)] & bits, 0u) << row << ", " << k;
      taken[size_t(place.word)] |= bits;
    }
  for (const uint32_t word : taken) EXPECT_EQ(word, 0xffffffffu);
}

TYPED_TEST(TileOrder, MakesWordsOfFourCodesOfTwoRowsAsTheirPlacesSay) {
  using Tile = TypeParam;
  const Codes codes = random_codes();
  const auto four = [&](int row, int k) {
    uint32_t nibbles = 0;
    for (int i = 0; i < 4; ++i) nibbles |= uint32_t(codes[size_t(row)][size_t(k + i)]) << 4 * i;
    return nibbles;
  };
  const std::vector<uint32_t> tile = tile_of<Tile>(codes);
  for (int row = 0; row < kTileRows; row += row % 8 == 7 ? 9 : 1)  // those of even registers
    for (int k = 0; k < kTileInputs; k += 4)
      EXPECT_EQ(Tile::word(four(row, k), four(row + 8, k)), tile[size_t(Tile::place(row, k).word)])
          << row << ", " << k;
}

// Expects in every byte of every thread's registers what the PTX ISA says. It comes from the table
// of the even registers' rows, or from that of the odd ones'.
template <class Tile, class Expand>
void expect_operands(const std::array<uint8_t, 16>& even, const std::array<uint8_t, 16>& odd,
                     const Expand& expand) {
  const Codes codes = random_codes();
  const std::vector<uint32_t> tile = tile_of<Tile>(codes);
  const ByteTable tables[2] = {make_byte_table(even), make_byte_table(odd)};
  for (int thread = 0; thread < 128; ++thread)
    for (int word = 0; word < 8; ++word) {
      const RegisterPair pair =
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

constexpr auto kExpandSignMagnitude = [](uint32_t word, const ByteTable& even,
                                         const ByteTable& odd) {
  return expand_sign_magnitude(word, even, odd);
};
constexpr auto kExpandTable = [](uint32_t word, const ByteTable& even, const ByteTable& odd) {
  return expand_table(word, even, odd);
};

TEST(Expand, MakesOperandsOfSignsAndMagnitudes) {
  std::array<uint8_t, 16> lut4, others;
  for (uint8_t u = 0; u < 16; ++u) {
    lut4[u] = fp8_encode(lut4_decode(u));
    others[u] = fp8_encode(lut4_decode(u) * 0.33f);
  }
  expect_operands<Lut4Tile>(lut4, others, kExpandSignMagnitude);
  expect_operands<Lut4Tile>(lut4, others, kExpandTable);
}

TEST(Expand, MakesOperandsOfAnyTables) {
  std::array<uint8_t, 16> integers, random;
  std::mt19937 source(2);
  for (uint8_t u = 0; u < 16; ++u)
    integers[u] = fp8_encode(float(u) - 8), random[u] = uint8_t(source());
  expect_operands<E4m3Tile>(random, integers, kExpandTable);
}

TEST(Expand, MakesOperandsOfIntegersWithoutATable) {
  std::array<uint8_t, 16> integers;
  for (uint8_t u = 0; u < 16; ++u) {
    integers[u] = fp8_encode((float(u) - 8) / kInt4Factor);
    EXPECT_EQ(fp8_decode(integers[u]) * kInt4Factor, float(u) - 8);  // none is rounded
  }
  expect_operands<Int4Tile>(
      integers, integers,
      [](uint32_t word, const ByteTable&, const ByteTable&) { return expand_integers(word); });
}

TEST(Expand, MakesTheTableOfAScaleFromItsNegativeProducts) {
  std::mt19937 source(3);
  for (int i = 0; i < 1000; ++i) {
    const float scale = fp8_decode(uint8_t(source() % 0x7f | (source() & 0x80)));
    uint32_t negative[2] = {};
    std::array<uint8_t, 16> all;
    for (int u = 0; u < 16; ++u) {
      all[size_t(u)] = fp8_encode(float(u - 8) * scale);
      if (u < 8) negative[u / 4] |= uint32_t(all[size_t(u)]) << u % 4 * 8;
    }
    const ByteTable table = table_of_negatives(negative[0], negative[1]),
                    expected = make_byte_table(all);
    for (int u = 0; u < 16; ++u) {
      const auto number = [u](const ByteTable& t) {
        return fp8_decode(uint8_t(t.words[u / 4] >> u % 4 * 8));
      };
      EXPECT_EQ(number(table), number(expected)) << u << " x " << scale;  // either zero
    }
  }
}

// Byte i of register r of wgmma j, as the PTX ISA says.
TEST(ByteTileOrder, HasTheRegistersOfOperandAAsTheyAre) {
  for (int thread = 0; thread < 128; ++thread)
    for (int j = 0; j < 4; ++j)
      for (int r = 0; r < 4; ++r)
        for (int i = 0; i < 4; ++i) {
          const int lane = thread % 32, row = 16 * (thread / 32) + lane / 4 + 8 * (r % 2),
                    k = 32 * j + 16 * (r / 2) + 4 * (lane % 4) + i;
          const CodePlace place = ByteTile::place(row, k);
          ASSERT_EQ(place.word, (2048 * j + 16 * thread) / 4 + r);
          ASSERT_EQ(ByteTile::bits(place, 0xab), 0xabu << 8 * i);
        }
}

}  // namespace
}  // namespace emberq::cuda::tile_order_test
