#pragma once

#include <array>

#include "format/fp8.h"

namespace emberq::cpu {

// Every e4m3 code's value: quicker than decoding bit by bit.
inline constexpr std::array<float, 256> kFp8Values = [] {
  std::array<float, 256> values{};
  for (int code = 0; code < 256; ++code) values[size_t(code)] = fp8_decode(uint8_t(code));
  return values;
}();

}  // namespace emberq::cpu
