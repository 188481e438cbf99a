#include "tensor/tensor.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/check.h"
#include "format/bf16.h"
#include "format/fp16.h"

namespace emberq {
namespace {

// visit(i, value) for every element, widened to double (exact for each of the four types); stops
// where it returns false.
template <class Visit>
void for_each_element(const Tensor& tensor, const Visit& visit) {
  const std::byte* data = tensor.bytes().data();
  const auto loop = [&]<class Stored>(Stored, const auto& widen) {
    for (int64_t i = 0; i < tensor.size(); ++i) {
      Stored stored;
      std::memcpy(&stored, data + size_t(i) * sizeof(Stored), sizeof(Stored));
      if (!visit(i, widen(stored))) return;
    }
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

template <class T>
std::vector<T> converted(const Tensor& tensor) {
  std::vector<T> values(size_t(tensor.size()));
  for_each_element(tensor, [&](int64_t i, double value) {
    values[size_t(i)] = T(value);
    return true;
  });
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
  int64_t found = -1;
  for_each_element(*this, [&](int64_t i, double value) {
    if (!std::isfinite(value)) found = i;
    return found < 0;
  });
  return found;
}

std::string shape_text(std::span<const int64_t> shape) {
  return fmt::format("[{}]", fmt::join(shape, ", "));
}

}  // namespace emberq
