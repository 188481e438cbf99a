#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "format/scale.h"
#include "ops/activations.h"
#include "ops/cpu/fp8_table.h"

namespace emberq::cpu {

// Codes of `count` values and their scale, by the rules of format/scale.h.
inline float store_group(const Activations& out, uint8_t* codes, const float* values,
                         int64_t count) {
  float absmax = 0;
#pragma omp simd reduction(max : absmax)
  for (int64_t c = 0; c < count; ++c) absmax = std::max(absmax, std::fabs(values[c]));
  if (out.dtype == DType::kF8E4M3) {
    const float scale = fp8_row_scale(absmax);
    for (int64_t c = 0; c < count; ++c) codes[c] = fp8_quantize(values[c], scale);
    return scale;
  }
  const int code_max = out.code_max;
  const float scale = int_row_scale(absmax, code_max);
  for (int64_t c = 0; c < count; ++c) codes[c] = uint8_t(int_quantize(values[c], scale, code_max));
  return scale;
}

// Row r of `out` from `dim` floats: as they are, or in codes with the scales of the row's groups.
inline void store_row(const Activations& out, int64_t r, const float* values) {
  if (!out.quantized()) {
    float* row = out.f32().row(r);
    if (row != values) std::copy_n(values, out.dim, row);
    return;
  }
  const int64_t groups = out.scales_per_row(), size = out.dim / groups;
  for (int64_t g = 0; g < groups; ++g)
    out.scales(r)[g] = store_group(out, out.codes().row(r) + g * size, values + g * size, size);
}

// Row r of quantized `x`: codes times the scales of the row's groups, or, without `scaled`, codes.
inline void load_row(const Activations& x, int64_t r, bool scaled, float* values) {
  const int64_t groups = x.scales_per_row(), size = x.dim / groups;
  const uint8_t* codes = x.codes().row(r);
  for (int64_t g = 0; g < groups; ++g, codes += size, values += size) {
    const float scale = scaled ? x.scales(r)[g] : 1.0f;
    if (x.dtype == DType::kF8E4M3)
      for (int64_t c = 0; c < size; ++c) values[c] = kFp8Values[codes[c]] * scale;
    else
      for (int64_t c = 0; c < size; ++c) values[c] = float(int8_t(codes[c])) * scale;
  }
}

}  // namespace emberq::cpu
