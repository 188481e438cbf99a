#pragma once

#include <array>
#include <memory>
#include <utility>
#include <variant>
#include <vector>

#include "ops/weight.h"
#include "tensor/quantized_weight.h"

namespace emberq::cpu {

// F32, F16 or BF16 as stored, usually in the mapped file.
struct UnquantizedWeight {
  Tensor values;  // [n, k]
};

// Four-bit codes as stored, in groups of an even size. Each group's 16 code values are looked up in
// a table of e4m3 numbers:
//
//   value(u) = e4m3 value of table[u] * factor
//
// With Dequant::kE4m3 the table holds e4m3(q * s * p) and factor is 1 / p; with kExact it
// holds q, q - zero point or LUT4's magnitudes, all of which e4m3 has exactly, and factor is the
// scale.
struct Int4Weight {
  using Table = std::array<uint8_t, 16>;

  Tensor packed;  // [n, packed_words(k, 4)] I32
  int64_t group_size = 0;
  const Table* tables = nullptr;
  std::shared_ptr<const std::vector<Table>> own_tables;  // what tables points to, unless static
  std::vector<uint16_t> table_index;  // [n, k / group_size], into tables; empty: the first
  std::vector<float> scales;          // [n, k / group_size]; empty: common_factor
  float common_factor = 1;

  // group: row * groups of a row + group in the row
  const Table& table(int64_t group) const {
    return tables[table_index.empty() ? 0 : table_index[size_t(group)]];
  }
  float factor(int64_t group) const {
    return scales.empty() ? common_factor : scales[size_t(group)];
  }
};

// All other codes as stored, 2 to 8 bits wide: value(u) = values[u] * scale.
struct CodedWeight {
  Tensor packed;              // [n, packed_words(k, bits)] I32
  WeightScheme scheme;        // kExact, without zero points; group_size resolved
  std::vector<float> values;  // [2^bits]
  std::vector<float> scales;  // [n, k / group_size]
};

struct CpuWeight final : DeviceWeight {
  using Stored = std::variant<UnquantizedWeight, Int4Weight, CodedWeight>;
  CpuWeight(int64_t rows, int64_t columns, Stored stored)
      : n(rows), k(columns), form(std::move(stored)) {}

  int64_t n, k;
  Stored form;
};

Weight prepare(const Tensor& dense);
// A group_size of 0 is the row. InputError for e4m3 products and zero points in groups of an odd
// size.
Weight prepare(const QuantizedWeight& quantized);
// Error for a weight that another backend has prepared.
const CpuWeight& cpu_weight(const Weight& weight);

// Values of rows [first, first + rows) as floats, [rows, k].
void decode_rows(const CpuWeight& weight, int64_t first, int64_t rows, float* out);

// sum_k x[k] * w[row, k], read as stored: four bits an INT4 code, two bytes a BF16.
float dot_row(const CpuWeight& weight, int64_t row, const float* x);

// The inner loop of dot_row for one group of four-bit codes, sum_i x[i] * value(table[code_i]), in
// vector instructions where the machine has them, and as plain as it can be said.
float dot_int4_group(const uint8_t* packed, int64_t codes, const Int4Weight::Table& table,
                     const float* x);
float dot_int4_group_plain(const uint8_t* packed, int64_t codes, const Int4Weight::Table& table,
                           const float* x);

}  // namespace emberq::cpu
