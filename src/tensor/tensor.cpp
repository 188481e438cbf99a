#include "tensor/tensor.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <span>

#include "base/check.h"
#include "base/parallel.h"
#include "format/bf16.h"
#include "format/fp16.h"

namespace emberq {
namespace {

// visit(begin, end) for the elements in chunks, on all threads.
template <class Visit>
void for_each_chunk(const Tensor& tensor, const Visit& visit) {
  constexpr int64_t kChunk = 1 << 17;  // enough work for a thread
  parallel_for(0, (tensor.size() + kChunk - 1) / kChunk, [&](int64_t chunk) {
    visit(chunk * kChunk, std::min((chunk + 1) * kChunk, tensor.size()));
  });
}

// visit(i, value) for every element, widened to double (exact for each of the four types).
template <class Visit>
void for_each_element(const Tensor& tensor, const Visit& visit) {
  const std::byte* data = tensor.bytes().data();
  const auto loop = [&]<class Stored>(Stored, const auto& widen) {
    for_each_chunk(tensor, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        Stored stored;
        std::memcpy(&stored, data + size_t(i) * sizeof(Stored), sizeof(Stored));
        visit(i, widen(stored));
      }
    });
  };
  switch (tensor.dtype()) {
    case DType::kF64:
      return loop(double{}, [](double x) { return x; });
    case DType::kF32:
      return loop(float{}, [](float x) { return double(x); });
    case DType::kF16:
      return loop(fp16{}, [](fp16 x) { return double(x.to_float()); });
    case DType::kBF16:
      return loop(bf16{}, [](bf16 x) { return double(x.to_float()); });
    default:
      EMBERQ_CHECK(false, "a tensor of {} is not floating point", name(tensor.dtype()));
  }
}

// Whether one of the elements has all bits of the mask: then the largest number of these bits is
// the mask itself. A loop without an exit, which is vectorized.
template <class Bits>
bool any_all_set(std::span<const Bits> elements, Bits mask) {
  Bits largest = 0;
#pragma omp simd reduction(max : largest)
  for (size_t i = 0; i < elements.size(); ++i) {
    const auto masked = Bits(elements[i] & mask);
    largest = masked > largest ? masked : largest;
  }
  return largest == mask;
}

// The first element that has all bits of the mask, or -1. With an exponent's mask: NaN or infinity.
template <class Bits>
int64_t find_all_set(const Tensor& tensor, Bits mask) {
  constexpr int64_t kBlock = 4096;
  const std::span elements(tensor.data<Bits>(), size_t(tensor.size()));
  std::atomic<int64_t> first = tensor.size();
  for_each_chunk(tensor, [&](int64_t chunk, int64_t end) {
    for (int64_t begin = chunk; begin < end; begin += kBlock) {
      const auto block = elements.subspan(size_t(begin), size_t(std::min(kBlock, end - begin)));
      if (!any_all_set<Bits>(block, mask)) continue;
      const auto is_set = [mask](Bits b) { return (b & mask) == mask; };
      const int64_t at = begin + (std::ranges::find_if(block, is_set) - block.begin());
      int64_t known = first;
      while (at < known && !first.compare_exchange_weak(known, at)) {
      }
      return;
    }
  });
  return first < tensor.size() ? first.load() : -1;
}

template <class T>
std::vector<T> converted(const Tensor& tensor) {
  std::vector<T> values(size_t(tensor.size()));
  for_each_element(tensor, [&](int64_t i, double value) { values[size_t(i)] = T(value); });
  return values;
}

}  // namespace

Tensor::Tensor(DType dtype, std::vector<int64_t> shape, std::shared_ptr<const std::byte> owner,
               const std::byte* data)
    : dtype_(dtype), shape_(std::move(shape)), owner_(std::move(owner)), data_(data) {}

Tensor Tensor::copy_of_bytes(DType dtype, std::vector<int64_t> shape,
                             std::span<const std::byte> bytes) {
  const auto memory = std::make_shared<std::vector<std::byte>>(bytes.begin(), bytes.end());
  Tensor tensor(dtype, std::move(shape), {memory, memory->data()}, memory->data());
  EMBERQ_CHECK(tensor.bytes().size() == bytes.size(), "a tensor of {} {} has {} bytes, given {}",
               name(dtype), shape_text(tensor.shape()), tensor.bytes().size(), bytes.size());
  return tensor;
}

int64_t Tensor::size() const {
  int64_t size = 1;
  for (const int64_t extent : shape_) size *= extent;
  return size;
}

std::vector<float> Tensor::to_float() const { return converted<float>(*this); }
std::vector<double> Tensor::to_double() const { return converted<double>(*this); }

int64_t Tensor::find_non_finite() const {
  switch (dtype_) {
    case DType::kF64:
      return find_all_set<uint64_t>(*this, 0x7ff0'0000'0000'0000);
    case DType::kF32:
      return find_all_set<uint32_t>(*this, 0x7f80'0000);
    case DType::kF16:
      return find_all_set<uint16_t>(*this, 0x7c00);
    case DType::kBF16:
      return find_all_set<uint16_t>(*this, 0x7f80);
    default:
      EMBERQ_CHECK(false, "a tensor of {} is not floating point", name(dtype_));
  }
}

std::string shape_text(std::span<const int64_t> shape) {
  return fmt::format("[{}]", fmt::join(shape, ", "));
}

}  // namespace emberq
