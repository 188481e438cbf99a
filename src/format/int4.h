#pragma once

#include <cstdint>

// INT4: codes -8 ... 7, two's complement in four bits. A symmetric scale is absmax / 7; -8 is used
// where that scale was rounded down.
namespace emberq {

struct Int4 {
  static constexpr int kBits = 4, kMin = -8, kMax = 7;
};

// Two's complement in a nibble, as the KV cache stores it. (Checkpoints store code + 8: pack.h.)
constexpr uint8_t int4_encode(int code) { return uint8_t(code & 15); }
constexpr int int4_decode(uint8_t nibble) { return int((nibble & 15) ^ 8) - 8; }

static_assert(int4_decode(int4_encode(-8)) == -8 && int4_decode(int4_encode(7)) == 7);

}  // namespace emberq
