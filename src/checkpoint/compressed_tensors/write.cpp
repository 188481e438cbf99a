#include "checkpoint/compressed_tensors/write.h"

#include <algorithm>
#include <array>

#include "format/pack.h"

namespace emberq {
namespace {

// 8-bit codes as bytes of their own: two's complement (flip 0x80) or e4m3 (flip 0).
Tensor unpacked_bytes(const QuantizedWeight& weight, DType dtype, uint8_t flip) {
  const size_t stride = packed_words(size_t(weight.k), 8) * 4;
  std::vector<uint8_t> bytes(size_t(weight.n * weight.k));
  for (int64_t n = 0; n < weight.n; ++n) {
    const uint8_t* row = weight.packed.data<uint8_t>() + size_t(n) * stride;
    std::transform(row, row + weight.k, bytes.begin() + n * weight.k,
                   [flip](uint8_t u) { return uint8_t(u ^ flip); });
  }
  return Tensor::copy_of(dtype, {weight.n, weight.k}, std::span<const uint8_t>(bytes));
}

// Each group's zero points of all rows, packed as a row of codes is; the words of a group are a
// column.
Tensor packed_zero_points(const QuantizedWeight& weight) {
  const int64_t groups = weight.zero_point.shape()[1];
  const size_t words = packed_words(size_t(weight.n), weight.scheme.bits);
  const int8_t* zero_points = weight.zero_point.data<int8_t>();
  std::vector<uint32_t> packed(words * size_t(groups)), column(words);
  for (int64_t g = 0; g < groups; ++g) {
    std::ranges::fill(column, 0);
    for (int64_t n = 0; n < weight.n; ++n)
      pack_code(column.data(), size_t(n), weight.scheme.bits, zero_points[n * groups + g]);
    for (size_t w = 0; w < words; ++w) packed[w * size_t(groups) + size_t(g)] = column[w];
  }
  return Tensor::copy_of(DType::kI32, {int64_t(words), groups}, std::span<const uint32_t>(packed));
}

}  // namespace

std::vector<std::pair<std::string, Tensor>> quantized_tensors(const std::string& module,
                                                              const QuantizedWeight& weight) {
  std::vector<std::pair<std::string, Tensor>> tensors;
  const auto add = [&](std::string_view suffix, Tensor tensor) {
    tensors.emplace_back(module + std::string(suffix), std::move(tensor));
  };
  const WeightStorage storage = storage_of(weight.scheme);
  if (storage == WeightStorage::kIntQuantized)
    add(kWeightSuffix, unpacked_bytes(weight, DType::kI8, 0x80));
  if (storage == WeightStorage::kFloatQuantized)
    add(kWeightSuffix, unpacked_bytes(weight, DType::kF8E4M3, 0));
  if (storage == WeightStorage::kPackQuantized) add(kPackedSuffix, weight.packed);
  add(kScaleSuffix, weight.scale);
  if (storage != WeightStorage::kPackQuantized) return tensors;
  if (weight.scheme.zero_point) add(kZeroPointSuffix, packed_zero_points(weight));
  const std::array<int64_t, 2> shape = {weight.n, weight.k};
  add(kShapeSuffix, Tensor::copy_of(DType::kI64, {2}, std::span<const int64_t>(shape)));
  return tensors;
}

}  // namespace emberq
