#pragma once

#include <cstddef>
#include <cstdint>

namespace emberq {

// A view of row-major memory on either side; owns nothing.
template <class T>
struct Matrix {
  T* data = nullptr;
  int64_t rows = 0;
  int64_t cols = 0;

  constexpr T* row(int64_t r) const { return data + r * cols; }
  constexpr int64_t size() const { return rows * cols; }
  constexpr size_t bytes() const { return size_t(size()) * sizeof(T); }
  constexpr operator Matrix<const T>() const { return {data, rows, cols}; }
};

}  // namespace emberq
