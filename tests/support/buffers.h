#pragma once

#include <span>
#include <vector>

#include "ops/backend.h"

namespace emberq::test {

// Host values in a backend's memory.
template <class T>
Buffer to_backend(Backend& backend, const std::vector<T>& values) {
  Buffer buffer(backend, std::max<size_t>(1, values.size() * sizeof(T)));
  backend.upload(buffer.as<void>(), values.data(), values.size() * sizeof(T));
  backend.synchronize();
  return buffer;
}

template <class T>
std::vector<T> to_host(Backend& backend, const void* data, size_t count) {
  std::vector<T> values(count);
  backend.download(values.data(), data, count * sizeof(T));
  backend.synchronize();
  return values;
}

inline Activations plain(const Buffer& buffer, int64_t rows, int64_t dim) {
  return {DType::kF32, buffer.as<void>(), nullptr, rows, dim};
}
// e4m3 with a scale for each row.
inline Activations quantized(const Buffer& codes, const Buffer& scale, int64_t rows, int64_t dim) {
  return {DType::kF8E4M3, codes.as<void>(), scale.as<float>(), rows, dim};
}
inline Activations int8(const Buffer& codes, const Buffer& scale, int64_t rows, int64_t dim,
                        int64_t group = 0, int code_max = 127) {
  return {DType::kI8, codes.as<void>(), scale.as<float>(), rows, dim, group, code_max};
}

}  // namespace emberq::test
