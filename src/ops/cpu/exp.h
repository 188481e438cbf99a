#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>

namespace emberq::cpu {

// exp(x) for x <= 0 to 2 units in the last place, in straight-line code that vectorizes. exp = 2^n
// * e^r with n = round(x / ln 2); e^r by its Taylor polynomial, |r| <= ln 2 / 2. Below -87 it stays
// at e^-87.
inline float exp_negative(float x) {
  constexpr float kRound = 0x1.8p23f;
  constexpr float kLn2High = 0x1.62e4p-1f, kLn2Low = 0x1.7f7d1cp-20f;  // their sum is ln 2
  x = std::max(x, -87.0f);
  const float shifted = x * 0x1.715476p0f + kRound;  // n in the low bits
  const float n = shifted - kRound;
  const float r = (x - n * kLn2High) - n * kLn2Low;
  float p = 1.0f / 5040;
  p = p * r + 1.0f / 720;
  p = p * r + 1.0f / 120;
  p = p * r + 1.0f / 24;
  p = p * r + 1.0f / 6;
  p = p * r + 0.5f;
  p = p * r + 1.0f;
  p = p * r + 1.0f;
  const uint32_t power = (std::bit_cast<uint32_t>(shifted) + 127) << 23;
  return p * std::bit_cast<float>(power);
}

}  // namespace emberq::cpu
