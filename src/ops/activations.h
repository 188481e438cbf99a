#pragma once

#include <string>
#include <string_view>

#include "base/error.h"
#include "format/dtype.h"
#include "tensor/matrix.h"

namespace emberq {

// Rows of activations in a backend's memory; a view. They are of the backend's own type (F32 on the
// CPU, BF16 on CUDA) or quantized: codes of e4m3 or I8 with one FP32 scale per row, or per row and
// `group` columns; value = code * scale. An operation that writes Activations quantizes where its
// output is quantized, as the fused kernels do.
struct Activations {
  DType dtype = DType::kF32;
  void* data = nullptr;    // [rows, dim]
  float* scale = nullptr;  // [rows, scales_per_row()] where quantized, else null
  int64_t rows = 0, dim = 0;
  int64_t group = 0;   // columns that share a scale; 0: all
  int code_max = 127;  // of I8: codes are -code_max - 1 ... code_max, a scale is absmax / code_max

  explicit operator bool() const { return data != nullptr; }
  bool quantized() const { return dtype == DType::kF8E4M3 || dtype == DType::kI8; }
  int64_t scales_per_row() const { return group ? dim / group : 1; }
  size_t bytes() const {
    return size_t(rows * dim) * size_bytes(dtype) +
           (quantized() ? size_t(rows * scales_per_row()) * sizeof(float) : 0);
  }

  template <class T>
  Matrix<T> as() const {
    if (sizeof(T) != size_bytes(dtype))
      fail("sizeof(T) == size_bytes(dtype)", "activations are " + std::string(name(dtype)));
    return {static_cast<T*>(data), rows, dim};
  }
  Matrix<float> f32() const { return as<float>(); }
  Matrix<uint8_t> codes() const { return as<uint8_t>(); }

  // The scales of row r.
  float* scales(int64_t r) const { return scale + r * scales_per_row(); }

  // The same memory as rows of another length.
  Activations reshaped(int64_t new_rows, int64_t new_dim) const {
    return {dtype, data, scale, new_rows, new_dim, group, code_max};
  }
  // Rows [begin, begin + count).
  Activations slice(int64_t begin, int64_t count) const {
    auto* first = static_cast<std::byte*>(data) + size_t(begin * dim) * size_bytes(dtype);
    return {dtype, first, scale ? scales(begin) : nullptr, count, dim, group, code_max};
  }
};

// That an operation can read or write `x`: groups divide its rows, and code_max is INT6's or
// INT8's.
void check(const Activations& x, std::string_view operation);

}  // namespace emberq
