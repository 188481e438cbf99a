#pragma once

#include <array>
#include <cstdint>
#include <optional>

#include "format/scheme.h"

// How LinearKernel takes the weights of a scheme. Nothing here needs a GPU.
namespace emberq::cuda {

// Each has an operand (operand_*.cuh), a tile order (tile_order.h) and a source file in instances/.
enum class OperandFormat {
  kLut4,      // lut4: a sign and an index into eight e4m3 magnitudes, times the scale
  kInt4,      // int4: -8 ... 7, times the scale
  kLut4E4m3,  // lut4-e4m3: a sign and an index into the eight e4m3 products of the group
  kInt4E4m3,  // int4-e4m3 (FireQ): -8 ... 7, times the scale, in e4m3
  kE4m3,      // fp8e4m3, fp6e2m3: e4m3 numbers, a byte each, times the scale. All e2m3 numbers are
              // e4m3 numbers; an order of six bits is to come.
};

// None for a scheme that no operand multiplies.
std::optional<OperandFormat> operand_format(const WeightScheme& scheme);

// Whether the math warpgroups of sliced-K make small token tiles faster. That is measured
// (docs/kernels/w4a8.md): expansion of kLut4E4m3 is the cheapest and gains nothing. kE4m3 has none.
constexpr bool gains_from_sliced_k(OperandFormat format) {
  return format != OperandFormat::kLut4E4m3 && format != OperandFormat::kE4m3;
}

// Groups of a tile's 128 inputs: 1, 2 or 4 for groups of 128 and more, 64 and 32.
constexpr int groups_per_tile(int group_size) { return group_size < 128 ? 128 / group_size : 1; }

// The e4m3 values of the sixteen codes, four to a word.
struct ByteTable {
  uint32_t words[4];
};
constexpr ByteTable make_byte_table(const std::array<uint8_t, 16>& e4m3) {
  ByteTable table{};
  for (size_t u = 0; u < 16; ++u) table.words[u / 4] |= uint32_t(e4m3[u]) << 8 * (u % 4);
  return table;
}

// The part of an operand that is an argument of the kernel.
struct OperandParams {
  ByteTable table{};  // kLut4
  float factor = 1;   // of the sums of every format except kLut4 and kE4m3
};
// Of a scheme that has an operand.
OperandParams operand_params(const WeightScheme& scheme, float global_scale);

}  // namespace emberq::cuda
