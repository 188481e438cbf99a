#pragma once

#include <cstdint>

#include "ops/cuda/linear/operand_format.h"
#include "ops/cuda/runtime/host_device.h"

// Expands a word of eight codes (tile_order.h) to two registers of e4m3, operand A of wgmma. Tests
// run this on the CPU too.
namespace emberq::cuda {

// PTX prmt.b32: byte i of the result is byte s & 7 of (high, low), with s the selector's nibble i.
// If s has bit 3, it is the sign of that byte eight times.
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

// Two registers of operand A.
struct RegisterPair {
  uint32_t even, odd;
};

// LookupCodes: a sign, and an index into the first eight numbers of two tables, the even register's
// and the odd one's, which are negative where a scale is. Seven instructions.
EMBERQ_HOST_DEVICE inline RegisterPair expand_sign_magnitude(uint32_t word, const ByteTable& even,
                                                             const ByteTable& odd) {
  const uint32_t index = word & 0x77777777;
  return {permute_bytes(even.words[0], even.words[1], index) ^ (word & 0x80808080),
          permute_bytes(odd.words[0], odd.words[1], index >> 16) ^ (word << 4 & 0x80808080)};
}

// IntegerCodes: e4m3 numbers that are the integers over kInt4Factor. Nine instructions.
EMBERQ_HOST_DEVICE inline RegisterPair expand_integers(uint32_t word) {
  const auto numbers = [](uint32_t codes) {
    codes &= 0x87878787;
    return codes + (codes >> 7 & 0x01010101);
  };
  return {numbers(word), numbers(word >> 4 | word << 28)};
}
inline constexpr float kInt4Factor = 512;

// LookupCodes: an index into all sixteen numbers of the tables. Eleven instructions.
EMBERQ_HOST_DEVICE inline RegisterPair expand_table(uint32_t word, const ByteTable& even,
                                                    const ByteTable& odd) {
  constexpr uint32_t kSigns = 0xba98;  // each byte's sign, eight times
  const auto choose = [&](const ByteTable& table, uint32_t index, uint32_t high) {
    const uint32_t below = permute_bytes(table.words[0], table.words[1], index);
    const uint32_t above = permute_bytes(table.words[2], table.words[3], index);
    const uint32_t mask = permute_bytes(high, high, kSigns);
    return (below & ~mask) | (above & mask);
  };
  const uint32_t index = word & 0x77777777;
  return {choose(even, index, word), choose(odd, index >> 16, word << 4)};
}
// The table of -8 ... 7 times a scale, from the products of -8 ... -1. The products of 1 ... 7 are
// theirs with the other sign.
EMBERQ_HOST_DEVICE inline ByteTable table_of_negatives(uint32_t low, uint32_t high) {
  return {{low, high, (permute_bytes(low, high, 0x5670) ^ 0x80808080) & 0xffffff00,
           permute_bytes(low, high, 0x1234) ^ 0x80808080}};
}

}  // namespace emberq::cuda
