#include "checkpoint/compressed_tensors/read.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <memory>
#include <utility>
#include <vector>

#include "base/check.h"
#include "base/parallel.h"
#include "checkpoint/checkpoint.h"
#include "format/fp8.h"
#include "format/pack.h"

namespace emberq {
namespace {

// A linear's place in a checkpoint.
struct Source {
  const Checkpoint& checkpoint;
  const std::string& module;
  WeightStorage storage;

  std::string folder() const { return checkpoint.folder().string(); }
  std::string name(std::string_view suffix) const { return module + std::string(suffix); }
};

Tensor read_packed(const Source& from, const QuantizedWeight& weight) {
  const std::string name = from.name(kPackedSuffix);
  const int bits = weight.scheme.bits;
  const std::vector<int64_t> shape = {weight.n, int64_t(packed_words(size_t(weight.k), bits))};
  const int64_t per_word = 32 / bits;
  const std::vector<int64_t> old_shape = {weight.n, (weight.k + per_word - 1) / per_word};
  EMBERQ_REQUIRE(shape == old_shape || from.checkpoint.get(name).shape() != old_shape,
                 "{}: {} has {} codes in a word, as compressed-tensors before 0.17 packed them; "
                 "pack it again with a newer one",
                 from.folder(), name, per_word);
  const std::array<int64_t, 2> logical = {weight.n, weight.k};
  const Tensor stored = from.checkpoint.get(from.name(kShapeSuffix), std::array{DType::kI64}, {2});
  EMBERQ_REQUIRE(std::equal(logical.begin(), logical.end(), stored.data<int64_t>()),
                 "{}: {} must be {}, got {}", from.folder(), from.name(kShapeSuffix),
                 shape_text(logical), shape_text({stored.data<int64_t>(), 2}));
  return from.checkpoint.get(name, std::array{DType::kI32}, shape);
}

// The words, not copied, as rows of I32.
Tensor rows_of_words(std::vector<uint32_t> words, const QuantizedWeight& weight) {
  const auto memory = std::make_shared<const std::vector<uint32_t>>(std::move(words));
  const auto* data = reinterpret_cast<const std::byte*>(memory->data());
  const auto columns = int64_t(packed_words(size_t(weight.k), weight.scheme.bits));
  return {DType::kI32, {weight.n, columns}, {memory, data}, data};
}

Tensor pack_int8(const Source& from, const QuantizedWeight& weight) {
  const int bits = weight.scheme.bits, max = (1 << (bits - 1)) - 1;
  const size_t words = packed_words(size_t(weight.k), bits);
  const std::string name = from.name(kWeightSuffix);
  const Tensor codes = from.checkpoint.get(name, std::array{DType::kI8}, {weight.n, weight.k});
  std::vector<uint32_t> packed(size_t(weight.n) * words);
  parallel_for(0, weight.n, [&](int64_t n) {
    const int8_t* row = codes.data<int8_t>() + n * weight.k;
    uint32_t* to = packed.data() + size_t(n) * words;
    if (bits == 8) {  // every byte is a code: nothing to check or to shift
      std::transform(row, row + weight.k, reinterpret_cast<uint8_t*>(to),
                     [](int8_t code) { return uint8_t(code ^ 0x80); });
      return;
    }
    for (int64_t k = 0; k < weight.k; ++k) {
      EMBERQ_REQUIRE(-max - 1 <= row[k] && row[k] <= max,
                     "{}: {} holds {} at [{}, {}], which {} bits do not", from.folder(), name,
                     int(row[k]), n, k, bits);
      pack_code(to, size_t(k), bits, row[k]);
    }
  });
  return rows_of_words(std::move(packed), weight);
}

Tensor pack_e4m3(const Source& from, const QuantizedWeight& weight) {
  const auto is_nan = [](uint8_t code) { return (code & 0x7f) == 0x7f; };
  const std::string name = from.name(kWeightSuffix);
  const Tensor codes = from.checkpoint.get(name, std::array{DType::kF8E4M3}, {weight.n, weight.k});
  const uint8_t* bytes = codes.data<uint8_t>();
  parallel_for(0, weight.n, [&](int64_t n) {
    const uint8_t* row = bytes + n * weight.k;
    uint8_t largest = 0;  // of NaN, 0x7f; a loop without an exit, which is vectorized
#pragma omp simd reduction(max : largest)
    for (int64_t k = 0; k < weight.k; ++k) largest = std::max(largest, uint8_t(row[k] & 0x7f));
    EMBERQ_REQUIRE(largest != 0x7f, "{}: {} is NaN at [{}, {}]", from.folder(), name, n,
                   std::find_if(row, row + weight.k, is_nan) - row);
  });
  const auto words = int64_t(packed_words(size_t(weight.k), 8));
  if (weight.k % 4 == 0 && reinterpret_cast<uintptr_t>(bytes) % alignof(uint32_t) == 0) {
    const auto owner = std::make_shared<const Tensor>(codes);  // the file's bytes are in order
    return {DType::kI32, {weight.n, words}, {owner, codes.bytes().data()}, codes.bytes().data()};
  }
  std::vector<uint32_t> packed(size_t(weight.n * words));
  for (int64_t n = 0; n < weight.n; ++n)
    std::memcpy(packed.data() + n * words, bytes + n * weight.k, size_t(weight.k));
  return rows_of_words(std::move(packed), weight);
}

Tensor read_zero_point(const Source& from, const QuantizedWeight& weight) {
  const std::string name = from.name(kZeroPointSuffix);
  const int bits = weight.scheme.bits, max = (1 << (bits - 1)) - 1;
  const int64_t groups = weight.k / weight.scheme.group_size;
  if (from.storage == WeightStorage::kIntQuantized) {
    Tensor codes = from.checkpoint.get(name, std::array{DType::kI8}, {weight.n, groups});
    for (int64_t i = 0; i < codes.size(); ++i) {
      const int8_t code = codes.data<int8_t>()[i];
      EMBERQ_REQUIRE(-max - 1 <= code && code <= max,
                     "{}: {} holds {} at [{}, {}], which {} bits do not", from.folder(), name,
                     int(code), i / groups, i % groups, bits);
    }
    return codes;
  }
  const size_t words = packed_words(size_t(weight.n), bits);
  const Tensor packed =
      from.checkpoint.get(name, std::array{DType::kI32}, {int64_t(words), groups});
  std::vector<uint32_t> column(words);
  std::vector<int8_t> codes(size_t(weight.n * groups));
  for (int64_t g = 0; g < groups; ++g) {
    for (size_t w = 0; w < words; ++w)
      column[w] = packed.data<uint32_t>()[w * size_t(groups) + size_t(g)];
    for (int64_t n = 0; n < weight.n; ++n)
      codes[size_t(n * groups + g)] = int8_t(packed_code(column.data(), size_t(n), bits));
  }
  return Tensor::copy_of(DType::kI8, {weight.n, groups}, std::span<const int8_t>(codes));
}

Tensor read_scale(const Source& from, const QuantizedWeight& weight) {
  const std::string name = from.name(kScaleSuffix);
  const int64_t groups = weight.k / weight.scheme.group_size;
  Tensor scale = from.checkpoint.get(name, kPlainTypes, {weight.n, groups});
  const std::vector<float> values = scale.to_float();
  const bool fireq =
      weight.scheme.dequant == Dequant::kE4m3 && weight.scheme.code == WeightCode::kInt;
  constexpr int64_t kRows = 256;  // enough work for a thread
  parallel_for(0, (weight.n + kRows - 1) / kRows, [&](int64_t chunk) {
    const int64_t end = std::min((chunk + 1) * kRows, weight.n) * groups;
    for (int64_t i = chunk * kRows * groups; i < end; ++i) {
      const float value = values[size_t(i)], scaled = value * weight.global_scale;
      EMBERQ_REQUIRE(value >= 0 && std::isfinite(value),
                     "{}: {} must hold finite numbers that are not negative, got {} at [{}, {}]",
                     from.folder(), name, value, i / groups, i % groups);
      EMBERQ_REQUIRE(!fireq || fp8_round(scaled) == scaled,
                     "{}: {} must hold e4m3 numbers over {}, got {} at [{}, {}]", from.folder(),
                     name, weight.global_scale, value, i / groups, i % groups);
    }
  });
  return scale;
}

Tensor read_codes(const Source& from, const QuantizedWeight& weight) {
  switch (from.storage) {
    case WeightStorage::kIntQuantized:
      return pack_int8(from, weight);
    case WeightStorage::kFloatQuantized:
      return pack_e4m3(from, weight);
    default:
      return read_packed(from, weight);
  }
}

// InputError for a tensor that the scheme has no use for.
void check_tensors(const Source& from, const WeightScheme& scheme) {
  for (const std::string_view suffix : {kZeroPointSuffix, kGroupIndexSuffix})
    EMBERQ_REQUIRE((scheme.zero_point && suffix == kZeroPointSuffix) ||
                       !from.checkpoint.has(from.name(suffix)),
                   "{}: {} contradicts config.json", from.folder(), from.name(suffix));
}

}  // namespace

QuantizedWeight read_quantized_weight(const Checkpoint& checkpoint, const std::string& module,
                                      const QuantizationConfig::Group& group, int64_t n, int64_t k,
                                      float global_scale) {
  const Source from{checkpoint, module, group.storage};
  QuantizedWeight weight{
      .scheme = group.scheme.weight, .n = n, .k = k, .global_scale = global_scale};
  if (weight.scheme.group_size == 0) weight.scheme.group_size = int(k);
  EMBERQ_REQUIRE(k % weight.scheme.group_size == 0,
                 "{}: {} has {} inputs, which is not a multiple of the group size {}",
                 from.folder(), module, k, weight.scheme.group_size);
  const int input_group = group.scheme.activation.group_size;
  EMBERQ_REQUIRE(input_group == 0 || k % input_group == 0,
                 "{}: {} has {} inputs, which is not a multiple of their group size {}",
                 from.folder(), module, k, input_group);
  check_tensors(from, weight.scheme);
  weight.packed = read_codes(from, weight);
  if (weight.scheme.zero_point) weight.zero_point = read_zero_point(from, weight);
  weight.scale = read_scale(from, weight);
  return weight;
}

}  // namespace emberq
