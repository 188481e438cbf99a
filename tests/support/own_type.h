#pragma once

#include <cmath>
#include <vector>

#include "format/bf16.h"
#include "support/buffers.h"

// Activations of a backend's own type, F32 or BF16, from floats and back.
namespace emberq::test {

// As they are after they are stored.
inline std::vector<float> in_own_type(const Backend& backend, std::vector<float> values) {
  if (backend.activation_type() == DType::kBF16)
    for (float& value : values) value = bf16::from_float(value).to_float();
  return values;
}

inline Buffer upload_own(Backend& backend, const std::vector<float>& values) {
  if (backend.activation_type() == DType::kF32) return to_backend(backend, values);
  std::vector<bf16> narrow;
  for (const float value : values) narrow.push_back(bf16::from_float(value));
  return to_backend(backend, narrow);
}

inline Activations own(const Backend& backend, const Buffer& buffer, int64_t rows, int64_t dim) {
  return {backend.activation_type(), buffer.as<void>(), nullptr, rows, dim};
}

inline std::vector<float> download_own(Backend& backend, const void* data, size_t count) {
  if (backend.activation_type() == DType::kF32) return to_host<float>(backend, data, count);
  std::vector<float> wide;
  for (const bf16 value : to_host<bf16>(backend, data, count)) wide.push_back(value.to_float());
  return wide;
}
inline std::vector<float> download_own(Backend& backend, const Buffer& buffer, size_t count) {
  return download_own(backend, buffer.as<void>(), count);
}

// Significant bits of the type, the implicit one included.
inline int own_bits(const Backend& backend) {
  return backend.activation_type() == DType::kF32 ? 24 : 8;
}

// Codes and scales for an operation to write, poisoned: every one must be written.
struct E4m3Rows {
  Buffer codes, scale;
  int64_t rows = 0, dim = 0;

  E4m3Rows(Backend& backend, int64_t rows_of_out, int64_t dim_of_out)
      : codes(to_backend(backend, std::vector<uint8_t>(size_t(rows_of_out * dim_of_out), 0x7f))),
        scale(to_backend(backend, std::vector<float>(size_t(rows_of_out), NAN))),
        rows(rows_of_out),
        dim(dim_of_out) {}

  Activations activations() const { return quantized(codes, scale, rows, dim); }
  std::vector<uint8_t> host_codes(Backend& backend) const {
    return to_host<uint8_t>(backend, codes.as<void>(), size_t(rows * dim));
  }
  std::vector<float> host_scale(Backend& backend) const {
    return to_host<float>(backend, scale.as<void>(), size_t(rows));
  }
};

}  // namespace emberq::test
