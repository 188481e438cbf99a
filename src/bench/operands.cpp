#include "bench/operands.h"

#include <algorithm>
#include <cstring>
#include <span>

#include "base/check.h"
#include "format/bf16.h"
#include "format/fp8.h"

namespace emberq::bench {
namespace {

// Not a power of two, so that what repeats is not each row of a matrix.
constexpr size_t kBlockBytes = (size_t(16) << 20) + 4352;

// The block over and over: a copy on the device costs less than the host's numbers.
Buffer repeat(Backend& backend, std::span<const std::byte> block, size_t bytes) {
  Buffer buffer(backend, bytes);
  auto* to = buffer.as<std::byte>();
  size_t done = std::min(block.size(), bytes);
  backend.upload(to, block.data(), done);
  while (done < bytes) {
    const size_t more = std::min(done, bytes - done);
    backend.copy(to + done, to, more);
    done += more;
  }
  backend.synchronize();
  return buffer;
}

template <class T, class F>
Buffer repeat_made_by(Backend& backend, size_t bytes, const F& make) {
  const std::vector<uint64_t> words = random_words(kBlockBytes, 1);
  std::vector<T> block(kBlockBytes / sizeof(T));
  const auto* raw = reinterpret_cast<const uint8_t*>(words.data());
  for (size_t i = 0; i < block.size(); ++i) block[i] = make(raw + i * sizeof(T));
  return repeat(backend, std::as_bytes(std::span(block)), bytes);
}

}  // namespace

std::vector<uint64_t> random_words(size_t bytes, uint64_t seed) {
  std::vector<uint64_t> words((bytes + 7) / 8);
  RandomWords random(seed);
  for (uint64_t& word : words) word = random();
  return words;
}

Buffer random_bytes(Backend& backend, size_t bytes) {
  return repeat_made_by<uint8_t>(backend, bytes, [](const uint8_t* raw) { return *raw; });
}

Buffer random_e4m3(Backend& backend, size_t count) {
  return repeat_made_by<uint8_t>(backend, count, [](const uint8_t* raw) {
    const int magnitude = (*raw & 0x7f) * 0x7f >> 7;  // 0x7f is NaN
    return uint8_t((*raw & 0x80) | magnitude);
  });
}

Buffer random_bf16(Backend& backend, size_t count) {
  return repeat_made_by<uint16_t>(backend, count * 2, [](const uint8_t* raw) {
    const int bits = raw[0] | raw[1] << 8;
    return uint16_t((bits & 0x80ff) | 0x3f00);  // exponents -1 and 0
  });
}

Buffer random_f32(Backend& backend, size_t count) {
  return repeat_made_by<uint32_t>(backend, count * 4, [](const uint8_t* raw) {
    uint32_t bits = 0;
    std::memcpy(&bits, raw, sizeof bits);
    return (bits & 0x80ffffff) | 0x3f000000;  // exponents -1 and 0
  });
}

Buffer random_activations(Backend& backend, size_t bytes) {
  return backend.activation_type() == DType::kF32 ? random_f32(backend, bytes / sizeof(float))
                                                  : random_bf16(backend, bytes / sizeof(bf16));
}

QuantizedWeight random_weight(int64_t n, int64_t k, const WeightScheme& scheme) {
  const int64_t groups = n * (k / scheme.group_size);
  const auto words = random_words(size_t(n * k / 2), 2), parts = random_words(size_t(groups), 3);
  const auto* packed = reinterpret_cast<const uint32_t*>(words.data());
  const auto* part = reinterpret_cast<const uint8_t*>(parts.data());
  std::vector<bf16> scale;
  for (int64_t i = 0; i < groups; ++i)
    scale.push_back(bf16::from_float(float(128 + part[i] % 128) * 0x1p-15f));
  QuantizedWeight weight{
      .scheme = scheme,
      .n = n,
      .k = k,
      .packed = Tensor::copy_of(DType::kI32, {n, k / 8}, std::span(packed, size_t(n * k / 8))),
      .scale = Tensor::copy_of(DType::kBF16, {n, groups / n}, std::span<const bf16>(scale))};
  return scheme.dequant == Dequant::kE4m3 ? with_e4m3_product(weight) : weight;
}

QuantizedWeight with_e4m3_product(const QuantizedWeight& weight) {
  constexpr float kPerTensor = 0x1p8f;
  QuantizedWeight result = weight;
  result.scheme.dequant = Dequant::kE4m3;
  result.global_scale = kPerTensor;
  std::vector<bf16> scale;
  for (const float s : weight.scale.to_float())
    scale.push_back(bf16::from_float(fp8_round(s * kPerTensor) / kPerTensor));
  result.scale = Tensor::copy_of(DType::kBF16, weight.scale.shape(), std::span<const bf16>(scale));
  return result;
}

QuantizedWeight rows_of(const QuantizedWeight& weight, const std::vector<int64_t>& rows) {
  const auto count = int64_t(rows.size());
  const auto gather = [&]<class T>(const Tensor& from) {
    const int64_t width = from.shape()[1];
    std::vector<T> values;
    for (const int64_t row : rows) {
      const T* begin = from.data<T>() + row * width;
      values.insert(values.end(), begin, begin + width);
    }
    return Tensor::copy_of(from.dtype(), {count, width}, std::span<const T>(values));
  };
  return {.scheme = weight.scheme,
          .n = count,
          .k = weight.k,
          .packed = gather.operator()<uint32_t>(weight.packed),
          .scale = gather.operator()<bf16>(weight.scale),
          .global_scale = weight.global_scale};
}

std::vector<int64_t> spread_over(int64_t count, int64_t most) {
  EMBERQ_CHECK(count > 0 && most > 1, "{} of {} places", most, count);
  if (count <= most) most = count;
  std::vector<int64_t> places;
  for (int64_t i = 0; i < most; ++i) places.push_back(most == 1 ? 0 : i * (count - 1) / (most - 1));
  return places;
}

}  // namespace emberq::bench
