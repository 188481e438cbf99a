#pragma once

#include <cuda_fp16.h>

#include "format/pack.h"
#include "format/weight_code.h"
#include "ops/cuda/linear/linear.h"

namespace emberq::cuda {

// A CanonicalWeight as a kernel reads it, one code at a time: format/weight_code.h for any scheme.
struct CanonicalCodes {
  const uint32_t* packed;
  const void* scales;
  const int8_t* zero_points;  // or null
  int n, k, words, groups, group_size, bits;
  DType scale_type;
  Dequant dequant;
  float global_scale;
  float values[256];  // of the codes

  static CanonicalCodes of(const CanonicalWeight& weight, int64_t n, int64_t k) {
    const WeightScheme& scheme = weight.scheme;
    CanonicalCodes codes{
        .packed = weight.packed.as<uint32_t>(),
        .scales = weight.scale.as<void>(),
        .zero_points = scheme.zero_point ? weight.zero_point.as<int8_t>() : nullptr,
        .n = int(n),
        .k = int(k),
        .words = int(packed_words(size_t(k), scheme.bits)),
        .groups = int(k / scheme.group_size),
        .group_size = scheme.group_size,
        .bits = scheme.bits,
        .scale_type = weight.scale_type,
        .dequant = scheme.dequant,
        .global_scale = weight.global_scale};
    for (int u = 0; u < 1 << scheme.bits; ++u) codes.values[u] = weight_code_value(scheme, u);
    return codes;
  }

  // What the code stands for before its scale, less the zero point.
  __device__ float code(int row, int column) const {
    const int u =
        packed_code(packed + int64_t(row) * words, size_t(column), bits) + (1 << (bits - 1));
    return values[u] - (zero_points ? float(zero_points[group(row, column)]) : 0.0f);
  }
  __device__ float scale(int row, int column) const {
    const int64_t at = group(row, column);
    switch (scale_type) {
      case DType::kF32:
        return static_cast<const float*>(scales)[at];
      case DType::kF16:
        return __half2float(static_cast<const __half*>(scales)[at]);
      default:
        return __uint_as_float(uint32_t(static_cast<const uint16_t*>(scales)[at]) << 16);
    }
  }
  // As an e4m3 number: the code, or of Dequant::kE4m3 the product.
  __device__ uint8_t e4m3(int row, int column) const {
    const float value = code(row, column);
    return dequant == Dequant::kE4m3 ? dequantize_to_e4m3(value, scale(row, column), global_scale)
                                     : fp8_encode(value);
  }
  __device__ float value(int row, int column) const {
    return dequantize(dequant, code(row, column), scale(row, column), global_scale);
  }

 private:
  __device__ int64_t group(int row, int column) const {
    return int64_t(row) * groups + column / group_size;
  }
};

}  // namespace emberq::cuda
