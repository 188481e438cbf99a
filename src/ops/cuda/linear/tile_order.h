#pragma once

#include <cstdint>

#include "ops/cuda/linear/gemm_config.h"
#include "ops/cuda/runtime/host_device.h"

// The device order of weights: of four-bit codes, and of bytes.
//
// A tile is 64 rows of W by 128 inputs: of four-bit codes, 4096 bytes. One warpgroup multiplies it
// in one k-step of the pipeline, as the register operand A of four wgmma m64nXk32. Each of its 128
// threads reads its 64 codes with two 16-byte loads, which have no bank conflicts in a warp:
//
//   words 0 ... 3 of thread i at byte 16 i, words 4 ... 7 at byte 2048 + 16 i
//
// Word 2 j + h of a thread holds the codes of registers 2 h and 2 h + 1 of wgmma j. By the PTX ISA
// (wgmma, A in registers, 8-bit), with lane = thread % 32, g = lane / 4 and t = lane % 4:
//
//   byte i of register r  =  row 16 (thread / 32) + g + 8 (r % 2), input 32 j + 16 (r / 2) + 4 t +
//   i
//
// A tile of bytes has 8192, and each thread reads the four registers of wgmma j with one 16-byte
// load at byte 2048 j + 16 i.
//
// The data of the groups follow the codes, kGroupBytes for each group of the tile. Inside them are
// 32 pairs of rows g and g + 8 of each sixteen: the two rows of one thread.
namespace emberq::cuda {

inline constexpr int kTileWords = kTileRows * kTileInputs / 8;
inline constexpr int kTileCodeBytes = kTileWords * 4;               // of four-bit codes
inline constexpr int kByteTileCodeBytes = kTileRows * kTileInputs;  // of bytes

template <class Tile>
EMBERQ_HOST_DEVICE constexpr int tile_bytes(int groups) {
  return Tile::kCodeBytes + Tile::kGroupBytes * groups;
}

// Where a code is in a tile.
struct CodePlace {
  int word;
  int low, high;  // bit positions of the low three bits and of the sign
};
EMBERQ_HOST_DEVICE constexpr int word_of_code(int row, int k) {
  const int thread = row / 16 * 32 + row % 8 * 4 + k % 16 / 4;
  const int word = k / 32 * 2 + k % 32 / 16;
  return word / 4 * 512 + thread * 4 + word % 4;
}

// Spreads four nibbles to the low halves of four bytes.
EMBERQ_HOST_DEVICE constexpr uint32_t spread_nibbles(uint32_t nibbles) {
  nibbles = (nibbles | nibbles << 8) & 0x00ff00ff;
  return (nibbles | nibbles << 4) & 0x0f0f0f0f;
}

// Codes that are looked up: a sign and three bits. The three bits are a nibble of a byte
// permutation's selector: nibble i for byte i of the even register, nibble 4 + i for the odd one.
// The sign is where one mask moves it to the sign of its byte: bit 8 i + 7 for the even register,
// 8 i + 3 for the odd one. So bit 3 of every nibble belongs to exactly one code.
struct LookupCodes {
  static EMBERQ_HOST_DEVICE constexpr CodePlace place(int row, int k) {
    const int odd = row / 8 % 2, i = k % 4;
    return {word_of_code(row, k), 4 * (4 * odd + i), 8 * i + (odd ? 3 : 7)};
  }
  // The bits of code u, 0 ... 15, in its word.
  static EMBERQ_HOST_DEVICE constexpr uint32_t bits(const CodePlace& place, uint32_t u) {
    return (u & 7) << place.low | (u >> 3) << place.high;
  }
  // The word of four codes of the even register and four of the odd one, given as four nibbles
  // each. The same as bits() of the eight, in a third of the instructions.
  static EMBERQ_HOST_DEVICE constexpr uint32_t word(uint32_t even, uint32_t odd) {
    // Signs of nibble i of `even` and `odd`, in bits 3 and 2 of byte i.
    const uint32_t signs = spread_nibbles((even & 0x8888) | (odd & 0x8888) >> 1);
    return ((even | odd << 16) & 0x77777777) | (signs << 4 & 0x80808080) |
           (signs << 1 & 0x08080808);
  }
};

// Integers q = u - 8, which need no table: the e4m3 numbers of codes 0 ... 15 are 0 ... 15 times
// 2^-9. An integer from 0 to 7 is its own three bits. A negative one has the three bits of -1 - q,
// its one's complement; its e4m3 byte is those bits plus 0x81. Byte i of the even register is in
// bits 8 i and up, with its sign in bit 8 i + 7. Byte i of the odd one is in bits 8 i + 4 and up,
// with its sign in bit 3 of the next byte. So the word rotated by four bits has the odd register
// where the even one was.
struct IntegerCodes {
  static EMBERQ_HOST_DEVICE constexpr CodePlace place(int row, int k) {
    const int odd = row / 8 % 2, i = k % 4;
    return {word_of_code(row, k), 8 * i + 4 * odd, (8 * i + (odd ? 11 : 7)) % 32};
  }
  static EMBERQ_HOST_DEVICE constexpr uint32_t bits(const CodePlace& place, uint32_t u) {
    u = u < 8 ? 15 - u : u - 8;
    return (u & 7) << place.low | (u >> 3) << place.high;
  }
  static EMBERQ_HOST_DEVICE constexpr uint32_t word(uint32_t even, uint32_t odd) {
    const uint32_t both = even | odd << 16, negative = ~both >> 3 & 0x11111111;
    const uint32_t signs = both ^ 0x88888888 ^ negative * 7;
    even = spread_nibbles(signs & 0xffff), odd = spread_nibbles(signs >> 16);
    const uint32_t odd_signs = odd & 0x08080808;
    return (even & 0x07070707) | (even & 0x08080808) << 4 | (odd & 0x07070707) << 4 |
           odd_signs << 8 | odd_signs >> 24;
  }
};

// Bytes, which are the registers of operand A as they are.
struct ByteCodes {
  static EMBERQ_HOST_DEVICE constexpr CodePlace place(int row, int k) {
    const int thread = row / 16 * 32 + row % 8 * 4 + k % 16 / 4;
    const int r = k % 32 / 16 * 2 + row / 8 % 2;
    return {k / 32 * 512 + thread * 4 + r, k % 4 * 8, 0};
  }
  static EMBERQ_HOST_DEVICE constexpr uint32_t bits(const CodePlace& place, uint32_t byte) {
    return byte << place.low;
  }
};

// A tile is the order of its codes and the data of its groups.
enum class GroupData {
  kScales,    // a pair of BF16 scales for each pair of rows
  kProducts,  // a pair of eight e4m3 numbers: products of the scale with the eight magnitudes of
              // lut4, or with -8 ... -1
};
struct Lut4Tile : LookupCodes {
  static constexpr int kCodeBytes = kTileCodeBytes;
  static constexpr GroupData kGroupData = GroupData::kScales;
  static constexpr int kGroupBytes = 128;
};
struct Int4Tile : IntegerCodes {
  static constexpr int kCodeBytes = kTileCodeBytes;
  static constexpr GroupData kGroupData = GroupData::kScales;
  static constexpr int kGroupBytes = 128;
};
struct E4m3Tile : LookupCodes {  // of kLut4E4m3 and kInt4E4m3
  static constexpr int kCodeBytes = kTileCodeBytes;
  static constexpr GroupData kGroupData = GroupData::kProducts;
  static constexpr int kGroupBytes = 512;
};

struct ByteTile : ByteCodes {  // of kE4m3
  static constexpr int kCodeBytes = kByteTileCodeBytes;
  static constexpr GroupData kGroupData = GroupData::kScales;
  static constexpr int kGroupBytes = 128;
};

// visit.operator()<Tile>() with the tile of a format.
template <class Visit>
auto with_tile(OperandFormat format, const Visit& visit) {
  switch (format) {
    case OperandFormat::kLut4:
      return visit.template operator()<Lut4Tile>();
    case OperandFormat::kInt4:
      return visit.template operator()<Int4Tile>();
    case OperandFormat::kE4m3:
      return visit.template operator()<ByteTile>();
    default:
      return visit.template operator()<E4m3Tile>();
  }
}

}  // namespace emberq::cuda
