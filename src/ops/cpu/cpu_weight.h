#pragma once

#include <array>
#include <variant>
#include <vector>

#include "ops/weight.h"
#include "tensor/quantized_weight.h"

namespace emberq::cpu {

// F32, F16 or BF16 as stored, usually in the mapped file.
struct DenseWeight {
  Tensor values;  // [n, k]
};

// INT4 codes as stored. Each group's 16 code values are looked up in a table of e4m3 numbers:
//
//   value(q) = e4m3 value of table[q + 8] * factor
//
// With WeightProduct::kE4m3 the table holds e4m3(q * s) and factor is 1 / p; with kExact it holds q
// itself, which e4m3 has exactly, and factor is the scale.
struct Int4Weight {
  Tensor packed;  // [n, k / 8] I32
  int64_t group_size = 0;
  WeightProduct product = WeightProduct::kExact;
  std::vector<uint8_t> scale_codes;  // [n, k / group_size] kE4m3: s
  std::vector<float> scales;         // [n, k / group_size] kExact
  float inverse_tensor_scale = 1;    // kE4m3: 1 / p

  using Table = std::array<uint8_t, 16>;
  const Table& table(int64_t group) const;  // group: row * groups of a row + group in the row
  float factor(int64_t group) const {
    return product == WeightProduct::kE4m3 ? inverse_tensor_scale : scales[size_t(group)];
  }
};

struct CpuWeight {
  int64_t n = 0, k = 0;
  std::variant<DenseWeight, Int4Weight> form;
};

Weight prepare(const Tensor& dense);
Weight prepare(const QuantizedWeight& quantized);
const CpuWeight& cpu_weight(const Weight& weight);

// Values of rows [first, first + rows) as floats, [rows, k].
void decode_rows(const CpuWeight& weight, int64_t first, int64_t rows, float* out);

// sum_k x[k] * w[row, k], read as stored: four bits a code, two bytes a BF16.
float dot_row(const CpuWeight& weight, int64_t row, const float* x);

// The inner loop of dot_row for one group of INT4 codes, sum_i x[i] * value(table[code_i]), in
// vector instructions where the machine has them, and as plain as it can be said.
float dot_int4_group(const uint8_t* packed, int64_t codes, const Int4Weight::Table& table,
                     const float* x);
float dot_int4_group_plain(const uint8_t* packed, int64_t codes, const Int4Weight::Table& table,
                           const float* x);

}  // namespace emberq::cpu
