#pragma once

#include <array>
#include <cstdint>

#include "ops/cuda/runtime/host_device.h"

// Four-bit weights in device order, and what makes FP8 operands of them.
//
// A tile is 64 rows of W by 128 inputs, 4096 bytes: what one warpgroup multiplies between two
// promotions, as the register operand A of four wgmma m64nXk32. Each of its 128 threads reads its
// 64 codes with two 16-byte loads, which a warp makes without bank conflicts:
//
//   word 0 ... 3 of thread i at 16 i, word 4 ... 7 at 2048 + 16 i (bytes)
//
// Word 2 j + h of a thread holds the codes of registers 2 h and 2 h + 1 of k-step j. By the PTX ISA
// (wgmma, A in registers, 8-bit), with lane = thread % 32, g = lane / 4 and t = lane % 4:
//
//   byte i of register r  =  row 16 (thread / 32) + g + 8 (r % 2), input 32 j + 16 (r / 2) + 4 t +
//   i
//
// Inside a word a code is a sign and three bits, in one of two ways.
//
// Of codes that are looked up, the three bits are the nibble of a byte permutation's selector: byte
// i of the even register nibble i, of the odd one nibble 4 + i. The sign is where one mask takes it
// to the sign of its byte: bit 8 i + 7 for the even register, 8 i + 3 for the odd one, which leaves
// bit 3 of every nibble to just one code.
//
// Integers need no table: the e4m3 numbers of codes 0 ... 15 are 0 ... 15 times 2^-9. A number of 0
// ... 7 is its own three bits; of a negative one they are those of -1 - q, as one's complement has
// it, and byte 0x81 more than they are. Byte i of the even register is in bits 8 i and on, with its
// sign in bit 8 i + 7; of the odd one in 8 i + 4 and on, with its sign in bit 3 of the next byte,
// so that the word turned by four bits is as the even register's.
namespace emberq::device {

inline constexpr int kW4Rows = 64, kW4Inputs = 128;
inline constexpr int kW4Words = kW4Rows * kW4Inputs / 8;  // of a tile

// What codes stand for.
enum class W4Codes {
  kSigned,          // a sign and an index into eight numbers (expand_signed), times the scale
  kIntegers,        // -8 ... 7, times the scale
  kSignedProducts,  // a sign and an index into the eight e4m3 products of the group
  kIntProducts,     // FireQ: -8 ... 7, times the scale in e4m3
};
EMBERQ_HOST_DEVICE constexpr bool are_products(W4Codes codes) {
  return codes == W4Codes::kSignedProducts || codes == W4Codes::kIntProducts;
}

// Behind a tile's codes are its groups' own numbers, in sets of one group for each row. A set of
// scales is 32 pairs of BF16, those of rows g and g + 8 of each sixteen, the two that one thread
// needs; a set of products is 32 pairs of eight e4m3 numbers, likewise: kSignedProducts' eight, and
// of kIntProducts those of -8 ... -1.
inline constexpr int kW4CodeBytes = kW4Words * 4;
EMBERQ_HOST_DEVICE constexpr int w4_set_bytes(W4Codes codes) {
  return are_products(codes) ? 512 : 128;
}
EMBERQ_HOST_DEVICE constexpr int w4_tile_bytes(W4Codes codes, int sets) {
  return kW4CodeBytes + w4_set_bytes(codes) * sets;
}

// Where the code of (row, k) of a tile is.
struct W4Place {
  int word;       // in the tile
  int low, high;  // bit positions of its three bits and of its sign
};
EMBERQ_HOST_DEVICE constexpr W4Place w4_place(W4Codes codes, int row, int k) {
  const int odd = row / 8 % 2, i = k % 4;
  const int thread = row / 16 * 32 + row % 8 * 4 + k % 16 / 4;
  const int word = k / 32 * 2 + k % 32 / 16;
  const int at = word / 4 * 512 + thread * 4 + word % 4;
  if (codes == W4Codes::kIntegers) return {at, 8 * i + 4 * odd, (8 * i + (odd ? 11 : 7)) % 32};
  return {at, 4 * (4 * odd + i), 8 * i + (odd ? 3 : 7)};
}

// Code u, 0 ... 15, in its place. An integer's is q + 8.
EMBERQ_HOST_DEVICE constexpr uint32_t w4_bits(W4Codes codes, const W4Place& place, uint32_t u) {
  if (codes == W4Codes::kIntegers) u = u < 8 ? 15 - u : u - 8;
  return (u & 7) << place.low | (u >> 3) << place.high;
}

// Four nibbles as the low halves of four bytes.
EMBERQ_HOST_DEVICE constexpr uint32_t spread_nibbles(uint32_t nibbles) {
  nibbles = (nibbles | nibbles << 8) & 0x00ff00ff;
  return (nibbles | nibbles << 4) & 0x0f0f0f0f;
}
// The word with four codes of the even register and four of the odd one, as four nibbles each: what
// w4_bits() makes of the eight, in a third of the instructions.
EMBERQ_HOST_DEVICE constexpr uint32_t w4_word(W4Codes codes, uint32_t even, uint32_t odd) {
  if (codes == W4Codes::kIntegers) {
    const uint32_t both = even | odd << 16, negative = ~both >> 3 & 0x11111111;
    const uint32_t signs = both ^ 0x88888888 ^ negative * 7;
    even = spread_nibbles(signs & 0xffff), odd = spread_nibbles(signs >> 16);
    const uint32_t odd_signs = odd & 0x08080808;
    return (even & 0x07070707) | (even & 0x08080808) << 4 | (odd & 0x07070707) << 4 |
           odd_signs << 8 | odd_signs >> 24;
  }
  // Both signs of nibble i to bits 3 and 2 of byte i.
  const uint32_t signs = spread_nibbles((even & 0x8888) | (odd & 0x8888) >> 1);
  return ((even | odd << 16) & 0x77777777) | (signs << 4 & 0x80808080) | (signs << 1 & 0x08080808);
}

// PTX prmt.b32: byte i of the result is byte s & 7 of (high, low), s the selector's nibble i, or
// its sign eight times where s has bit 3.
EMBERQ_HOST_DEVICE inline uint32_t permute_bytes(uint32_t low, uint32_t high, uint32_t selector) {
  uint32_t result = 0;
#ifdef __CUDA_ARCH__
  // __byte_perm() would clear the selector's bit 3.
  asm("prmt.b32 %0, %1, %2, %3;" : "=r"(result) : "r"(low), "r"(high), "r"(selector));
#else
  for (int i = 0; i < 4; ++i) {
    const uint32_t s = selector >> 4 * i & 15;
    uint32_t byte = uint32_t((uint64_t(high) << 32 | low) >> 8 * (s & 7)) & 0xff;
    if (s & 8) byte = byte & 0x80 ? 0xff : 0;
    result |= byte << 8 * i;
  }
#endif
  return result;
}

// The e4m3 numbers of the sixteen codes, four to a word.
struct W4Table {
  uint32_t words[4];
};
constexpr W4Table w4_table(const std::array<uint8_t, 16>& e4m3) {
  W4Table table{};
  for (size_t u = 0; u < 16; ++u) table.words[u / 4] |= uint32_t(e4m3[u]) << 8 * (u % 4);
  return table;
}

// Two registers of operand A.
struct W4Pair {
  uint32_t even, odd;
};

// Codes that are a sign and an index into the first eight numbers of two tables, the even
// register's and the odd one's: seven instructions.
EMBERQ_HOST_DEVICE inline W4Pair expand_signed(uint32_t word, const W4Table& even,
                                               const W4Table& odd) {
  const uint32_t index = word & 0x77777777;
  return {permute_bytes(even.words[0], even.words[1], index) | (word & 0x80808080),
          permute_bytes(odd.words[0], odd.words[1], index >> 16) | (word << 4 & 0x80808080)};
}

// Integers, times 2^-9: nine instructions.
EMBERQ_HOST_DEVICE inline W4Pair expand_integers(uint32_t word) {
  const auto numbers = [](uint32_t codes) {
    codes &= 0x87878787;
    return codes + (codes >> 7 & 0x01010101);
  };
  return {numbers(word), numbers(word >> 4 | word << 28)};
}
inline constexpr float kW4IntegerFactor = 512;

// Any tables, likewise: eleven instructions.
EMBERQ_HOST_DEVICE inline W4Pair expand_each(uint32_t word, const W4Table& even,
                                             const W4Table& odd) {
  constexpr uint32_t kSigns = 0xba98;  // each byte's sign, eight times
  const auto choose = [&](const W4Table& table, uint32_t index, uint32_t high) {
    const uint32_t below = permute_bytes(table.words[0], table.words[1], index);
    const uint32_t above = permute_bytes(table.words[2], table.words[3], index);
    const uint32_t mask = permute_bytes(high, high, kSigns);
    return (below & ~mask) | (above & mask);
  };
  const uint32_t index = word & 0x77777777;
  return {choose(even, index, word), choose(odd, index >> 16, word << 4)};
}
// The table of codes -8 ... 7 times some scale, from the products of -8 ... -1: the others are
// those of 1 ... 7 with the other sign, and zero.
EMBERQ_HOST_DEVICE inline W4Table with_positive(uint32_t low, uint32_t high) {
  return {{low, high, (permute_bytes(low, high, 0x5670) ^ 0x80808080) & 0xffffff00,
           permute_bytes(low, high, 0x1234) ^ 0x80808080}};
}

}  // namespace emberq::device
