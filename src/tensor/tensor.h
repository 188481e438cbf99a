#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "format/dtype.h"
#include "tensor/matrix.h"

namespace emberq {

// A host tensor, row-major: its own memory, or a view that keeps a mapped file alive. Copies share
// the elements, which nobody changes through a Tensor.
class Tensor {
 public:
  Tensor() = default;
  // Elements at `data`, which lives as long as `owner`.
  Tensor(DType dtype, std::vector<int64_t> shape, std::shared_ptr<const std::byte> owner,
         const std::byte* data);

  template <class T>
  static Tensor copy_of(DType dtype, const std::vector<int64_t>& shape, std::span<const T> values) {
    return copy_of_bytes(dtype, shape, std::as_bytes(values));
  }
  static Tensor of(const std::vector<int64_t>& shape, std::span<const float> values) {
    return copy_of(DType::kF32, shape, values);
  }

  DType dtype() const { return dtype_; }
  const std::vector<int64_t>& shape() const { return shape_; }
  int64_t size() const;  // elements
  std::span<const std::byte> bytes() const { return {data_, size_t(size()) * size_bytes(dtype_)}; }
  explicit operator bool() const { return data_ != nullptr; }

  // Elements as T, whose size must be the dtype's. Aligned for T: the safetensors reader copies
  // what a file has put at an odd place.
  template <class T>
  const T* data() const {
    return reinterpret_cast<const T*>(data_);
  }

  std::vector<float> to_float() const;    // from F64, F32, F16 or BF16; Error for another dtype
  std::vector<double> to_double() const;  // from the same types; exact
  // The first NaN or infinity's index, or -1. Of a floating dtype.
  int64_t find_non_finite() const;

 private:
  static Tensor copy_of_bytes(DType dtype, std::vector<int64_t> shape,
                              std::span<const std::byte> bytes);

  DType dtype_ = DType::kF32;
  std::vector<int64_t> shape_;
  std::shared_ptr<const std::byte> owner_;
  const std::byte* data_ = nullptr;
};

std::string shape_text(std::span<const int64_t> shape);  // "[512, 1536]"

}  // namespace emberq
