#pragma once

#include <cstddef>
#include <cstdint>

// The canonical order of packed codes, on disk and in host memory: that of compressed-tensors >=
// 0.17.
//
//   A row of K codes of b bits is a string of bits, little end first, cut into 32-bit words.
//   Code i occupies bits i*b ... i*b + b - 1 and may cross into the next word.
//   Stored is code + 2^(b-1), which is never negative.
//
// A row takes ceil(K*b / 32) words; the bits past the last code are zero.
namespace emberq {

constexpr size_t packed_words(size_t codes, int bits) { return (codes * size_t(bits) + 31) / 32; }

constexpr int packed_code(const uint32_t* words, size_t i, int bits) {
  const size_t bit = i * size_t(bits);
  const size_t word = bit / 32;
  const int shift = int(bit % 32);
  uint64_t window = words[word];
  if (shift + bits > 32) window |= uint64_t(words[word + 1]) << 32;
  return int((window >> shift) & ((1u << bits) - 1)) - (1 << (bits - 1));
}

// The words must be zero where code i goes.
constexpr void pack_code(uint32_t* words, size_t i, int bits, int code) {
  const size_t bit = i * size_t(bits);
  const size_t word = bit / 32;
  const int shift = int(bit % 32);
  const uint64_t stored = uint64_t(uint32_t(code + (1 << (bits - 1)))) << shift;
  words[word] |= uint32_t(stored);
  if (shift + bits > 32) words[word + 1] |= uint32_t(stored >> 32);
}

}  // namespace emberq
