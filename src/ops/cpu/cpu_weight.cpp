#include "ops/cpu/cpu_weight.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <unordered_map>

#include "base/check.h"
#include "base/parallel.h"
#include "format/bf16.h"
#include "format/fp16.h"
#include "format/scale.h"
#include "format/weight_code.h"
#include "ops/cpu/fp8_table.h"

namespace emberq::cpu {
namespace {

// Tables of e4m3(q * s) for every e4m3 scale s, and of q itself.
constexpr auto kProductTables = [] {
  std::array<Int4Weight::Table, 128> tables{};
  for (int scale = 0; scale < 127; ++scale)  // 127 is NaN, which is no scale
    for (int q = Int4::kMin; q <= Int4::kMax; ++q)
      tables[size_t(scale)][size_t(q - Int4::kMin)] = e4m3_product(q, {uint8_t(scale)});
  return tables;
}();
constexpr const Int4Weight::Table& kPlainTable = kProductTables[fp8_encode(1.0f)];

// Tables of q - z for every zero point z.
constexpr auto kZeroPointTables = [] {
  std::array<Int4Weight::Table, 16> tables{};
  for (int z = Int4::kMin; z <= Int4::kMax; ++z)
    for (int q = Int4::kMin; q <= Int4::kMax; ++q)
      tables[size_t(z - Int4::kMin)][size_t(q - Int4::kMin)] = fp8_encode(float(q - z));
  return tables;
}();

constexpr auto kLut4Table = [] {
  Int4Weight::Table table{};
  for (uint8_t u = 0; u < 16; ++u) table[u] = fp8_encode(lut4_decode(u));
  return table;
}();

Weight wrap(CpuWeight weight, size_t bytes) {
  const int64_t n = weight.n, k = weight.k;
  return {n, k, bytes, std::make_shared<const CpuWeight>(std::move(weight))};
}

// visit(element as Stored) for a dense tensor's element type.
template <class Visit>
auto dispatch(const Tensor& values, const Visit& visit) {
  switch (values.dtype()) {
    case DType::kF32:
      return visit(values.data<float>(), [](float x) { return x; });
    case DType::kBF16:
      return visit(values.data<bf16>(), [](bf16 x) { return x.to_float(); });
    case DType::kF16:
      return visit(values.data<fp16>(), [](fp16 x) { return x.to_float(); });
    default:
      throw Error(fmt::format("cpu: a weight of {}", name(values.dtype())));
  }
}

// Tables of e4m3(lut4_decode(u) * s * p), one for each that differs: scales have no fixed set, but
// of tables between all zeros and all 448 there are 682.
void set_product_tables(Int4Weight& weight, const std::vector<float>& scales, float p) {
  std::vector<Int4Weight::Table> tables;
  std::map<Int4Weight::Table, uint16_t> index_of_table;
  std::unordered_map<float, uint16_t> index_of_scale;
  for (const float scale : scales) {
    const auto [known, is_new] = index_of_scale.try_emplace(scale);
    if (is_new) {
      Int4Weight::Table table;
      for (uint8_t u = 0; u < 16; ++u) table[u] = dequantize_to_e4m3(lut4_decode(u), scale, p);
      const auto [same, differs] = index_of_table.try_emplace(table, uint16_t(tables.size()));
      if (differs) tables.push_back(table);
      known->second = same->second;
    }
    weight.table_index.push_back(known->second);
  }
  EMBERQ_CHECK(tables.size() <= size_t(UINT16_MAX), "cpu: {} tables of products", tables.size());
  weight.own_tables = std::make_shared<const std::vector<Int4Weight::Table>>(std::move(tables));
  weight.tables = weight.own_tables->data();
}

Int4Weight make_int4(const QuantizedWeight& q, int64_t group_size) {
  Int4Weight weight{.packed = q.packed, .group_size = group_size, .tables = &kPlainTable};
  const std::vector<float> scales = q.scale.to_float();
  if (q.scheme.dequant == Dequant::kE4m3) {
    weight.common_factor = 1 / q.global_scale;
    if (q.scheme.code == WeightCode::kLut) {
      set_product_tables(weight, scales, q.global_scale);
      return weight;
    }
    weight.tables = kProductTables.data();
    for (const float scale : scales)
      weight.table_index.push_back(fp8_encode(scale * q.global_scale));
    return weight;
  }
  weight.scales = scales;
  if (q.scheme.code == WeightCode::kLut) weight.tables = &kLut4Table;
  if (q.scheme.zero_point) {
    weight.tables = kZeroPointTables.data();
    for (int64_t i = 0; i < q.zero_point.size(); ++i)
      weight.table_index.push_back(uint16_t(q.zero_point.data<int8_t>()[i] - Int4::kMin));
  }
  return weight;
}

CodedWeight make_coded(const QuantizedWeight& q, int64_t group_size) {
  CodedWeight weight{.packed = q.packed, .scheme = q.scheme, .scales = q.scale.to_float()};
  weight.scheme.group_size = int(group_size);
  for (int u = 0; u < 1 << q.scheme.bits; ++u)
    weight.values.push_back(weight_code_value(q.scheme, u));
  return weight;
}

// Eight codes of `bits` bits, the first in the lowest, as a byte each: halves are moved apart until
// none is wider than a code.
uint64_t spread_codes(uint64_t codes, int bits) {
  const auto low = [bits](int count) { return (uint64_t(1) << count * bits) - 1; };
  const uint64_t four = low(4), two = low(2) * 0x00000001'00000001,
                 one = low(1) * 0x0001'0001'0001'0001;
  codes = (codes & four) | (codes >> 4 * bits & four) << 32;
  codes = (codes & two) | (codes >> 2 * bits & two) << 16;
  return (codes & one) | (codes >> bits & one) << 8;
}

// `count` codes as bytes, in blocks of eight; there are `bytes` to read.
void unpack_codes(const uint8_t* packed, int64_t bytes, int bits, int64_t count, uint8_t* codes) {
  for (int64_t i = 0; i < count; i += 8, packed += bits, bytes -= bits) {
    uint64_t eight = 0;
    if (bytes >= 8)
      std::memcpy(&eight, packed, 8);
    else
      std::memcpy(&eight, packed, size_t(bytes));  // the last of a row
    eight = spread_codes(eight, bits);
    std::memcpy(codes + i, &eight, 8);
  }
}

// visit(first, codes as bytes, count, scale) for the runs of a row's codes that share a scale.
template <class Visit>
void for_each_run(const CodedWeight& weight, int64_t k, int64_t row, const Visit& visit) {
  constexpr int64_t kBlock = 512;  // a multiple of eight, so that each starts at a byte
  const int bits = weight.scheme.bits;
  const int64_t stride = weight.packed.shape()[1] * 4, group_size = weight.scheme.group_size;
  const uint8_t* packed = weight.packed.data<uint8_t>() + row * stride;
  const float* scales = weight.scales.data() + row * (k / group_size);
  const int64_t block = bits == 8 ? k : kBlock;  // bytes are read where they lie
  std::array<uint8_t, kBlock> unpacked;
  for (int64_t begin = 0; begin < k; begin += block) {
    const int64_t end = std::min(k, begin + block), byte = begin * bits / 8;
    if (bits != 8) unpack_codes(packed + byte, stride - byte, bits, end - begin, unpacked.data());
    const uint8_t* codes = bits == 8 ? packed : unpacked.data();
    for (int64_t i = begin, stop; i < end; i = stop) {
      const int64_t group = i / group_size;
      stop = std::min(end, (group + 1) * group_size);
      visit(i, codes + (i - begin), stop - i, scales[group]);
    }
  }
}

// visit(code as float): integers by arithmetic, which vector instructions have; the rest by table.
template <class Visit>
auto with_values(const CodedWeight& weight, const Visit& visit) {
  if (weight.scheme.code == WeightCode::kInt) {
    const int zero = 1 << (weight.scheme.bits - 1);
    return visit([zero](uint8_t u) { return float(int(u) - zero); });
  }
  const float* values = weight.values.data();
  return visit([values](uint8_t u) { return values[u]; });
}

void decode_row(const Int4Weight& weight, int64_t k, int64_t row, float* out) {
  const int64_t groups = k / weight.group_size;
  const uint8_t* packed = weight.packed.data<uint8_t>() + row * weight.packed.shape()[1] * 4;
  for (int64_t g = 0; g < groups; ++g) {
    const int64_t group = row * groups + g;
    const float factor = weight.factor(group);
    std::array<float, 16> values;
    for (size_t u = 0; u < 16; ++u) values[u] = kFp8Values[weight.table(group)[u]] * factor;
    for (int64_t i = 0; i < weight.group_size / 2; ++i, ++packed) {
      *out++ = values[*packed & 15];
      *out++ = values[*packed >> 4];
    }
  }
}

void decode_row(const CodedWeight& weight, int64_t k, int64_t row, float* out) {
  with_values(weight, [&](const auto& value) {
    for_each_run(weight, k, row,
                 [&](int64_t first, const uint8_t* codes, int64_t count, float scale) {
                   float* to = out + first;
#pragma omp simd
                   for (int64_t i = 0; i < count; ++i) to[i] = value(codes[i]) * scale;
                 });
  });
}

void decode_row(const UnquantizedWeight& weight, int64_t k, int64_t row, float* out) {
  dispatch(weight.values, [&](const auto* values, const auto& widen) {
    const auto* from = values + row * k;
    for (int64_t i = 0; i < k; ++i) out[i] = widen(from[i]);
  });
}

float dot(const UnquantizedWeight& weight, int64_t k, int64_t row, const float* x) {
  return dispatch(weight.values, [&](const auto* values, const auto& widen) {
    const auto* w = values + row * k;
    float sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < k; ++i) sum += x[i] * widen(w[i]);
    return sum;
  });
}

float dot(const Int4Weight& weight, int64_t k, int64_t row, const float* x) {
  const int64_t groups = k / weight.group_size;
  const uint8_t* packed = weight.packed.data<uint8_t>() + row * weight.packed.shape()[1] * 4;
  float sum = 0;
  for (int64_t g = 0; g < groups; ++g) {
    const int64_t group = row * groups + g;
    sum +=
        weight.factor(group) * dot_int4_group(packed + g * weight.group_size / 2, weight.group_size,
                                              weight.table(group), x + g * weight.group_size);
  }
  return sum;
}

float dot(const CodedWeight& weight, int64_t k, int64_t row, const float* x) {
  float sum = 0;
  with_values(weight, [&](const auto& value) {
    for_each_run(weight, k, row,
                 [&](int64_t first, const uint8_t* codes, int64_t count, float scale) {
                   const float* from = x + first;
                   float run = 0;
#pragma omp simd reduction(+ : run)
                   for (int64_t i = 0; i < count; ++i) run += from[i] * value(codes[i]);
                   sum += scale * run;
                 });
  });
  return sum;
}

}  // namespace

Weight prepare(const Tensor& dense) {
  EMBERQ_CHECK(dense.shape().size() == 2, "a weight must have two dimensions, got {}",
               shape_text(dense.shape()));
  return wrap({dense.shape()[0], dense.shape()[1], UnquantizedWeight{dense}}, dense.bytes().size());
}

Weight prepare(const QuantizedWeight& q) {
  const int64_t group_size = q.scheme.group_size ? q.scheme.group_size : q.k;
  EMBERQ_CHECK(q.k % group_size == 0, "cpu: {} inputs in groups of {}", q.k, group_size);
  const size_t scales = size_t(q.scale.size());
  if (q.scheme.bits == 4 && group_size % 2 == 0) {
    Int4Weight weight = make_int4(q, group_size);
    const size_t bytes =
        q.packed.bytes().size() + 2 * weight.table_index.size() + 4 * weight.scales.size();
    return wrap({q.n, q.k, std::move(weight)}, bytes);
  }
  EMBERQ_REQUIRE(q.scheme.dequant == Dequant::kExact && !q.scheme.zero_point,
                 "the cpu backend runs {} in groups of an even size only", name(q.scheme));
  return wrap({q.n, q.k, make_coded(q, group_size)}, q.packed.bytes().size() + 4 * scales);
}

const CpuWeight& cpu_weight(const Weight& weight) {
  const auto* own = dynamic_cast<const CpuWeight*>(weight.impl.get());
  EMBERQ_CHECK(own, "the cpu backend was given a weight of another backend");
  return *own;
}

void decode_rows(const CpuWeight& weight, int64_t first, int64_t rows, float* out) {
  const int64_t k = weight.k;
  std::visit(
      [&](const auto& form) {
        parallel_for(0, rows, [&](int64_t r) { decode_row(form, k, first + r, out + r * k); });
      },
      weight.form);
}

float dot_row(const CpuWeight& weight, int64_t row, const float* x) {
  return std::visit([&](const auto& form) { return dot(form, weight.k, row, x); }, weight.form);
}

float dot_int4_group_plain(const uint8_t* packed, int64_t codes, const Int4Weight::Table& table,
                           const float* x) {
  float sum = 0;
  for (int64_t i = 0; i < codes / 2; ++i) {
    sum += x[2 * i] * kFp8Values[table[packed[i] & 15]];
    sum += x[2 * i + 1] * kFp8Values[table[packed[i] >> 4]];
  }
  return sum;
}

}  // namespace emberq::cpu
