#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

// LUT4: a sign (bit 3) and an index (bits 2 ... 0) into eight magnitudes, all of them e4m3 numbers,
// so that a kernel turns codes into FP8 operands by one table lookup. There is no zero: the sixteen
// values are the cells of a bell-shaped distribution, an even number of them, and none is spent
// twice (docs/formats.md says what that is worth).
namespace emberq {

inline constexpr std::array<float, 8> kLut4Magnitudes = {12, 36, 60, 88, 112, 144, 176, 224};
inline constexpr float kLut4Max = kLut4Magnitudes.back();

// The functions below index copies of their own: kernels call them too, and a kernel has no address
// of a constant in host memory.

constexpr float lut4_decode(uint8_t code) {
  constexpr auto kMagnitudes = kLut4Magnitudes;
  const float magnitude = kMagnitudes[code & 7];
  return code & 8 ? -magnitude : magnitude;
}

// The code nearest to x; at a midpoint the smaller magnitude, and zero is positive.
template <class T>
constexpr uint8_t lut4_encode(T x) {
  constexpr auto kMagnitudes = kLut4Magnitudes;
  const T magnitude = x < 0 ? -x : x;
  uint8_t index = 0;
  for (size_t i = 1; i < kMagnitudes.size(); ++i)
    index += uint8_t(magnitude > (T(kMagnitudes[i - 1]) + T(kMagnitudes[i])) / 2);
  return uint8_t(index | (x < 0 ? 8 : 0));
}

// lut4_decode(lut4_encode(x)) as a sum of steps, which vectorizes.
template <class T>
constexpr T lut4_round(T x) {
  constexpr auto kMagnitudes = kLut4Magnitudes;
  const T magnitude = x < 0 ? -x : x;
  T value = T(kMagnitudes[0]);
  for (size_t i = 1; i < kMagnitudes.size(); ++i) {
    const T low = T(kMagnitudes[i - 1]), high = T(kMagnitudes[i]);
    value += magnitude > (low + high) / 2 ? high - low : T(0);
  }
  return x < 0 ? -value : value;
}

}  // namespace emberq
