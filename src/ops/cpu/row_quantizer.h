#pragma once

#include <cmath>
#include <cstdint>

#include "format/scale.h"
#include "ops/activations.h"

namespace emberq::cpu {

// Row r of `out` from `dim` floats: as they are, or e4m3 with the row's scale.
inline void store_row(const Activations& out, int64_t r, const float* values) {
  const int64_t dim = out.dim;
  if (!out.quantized()) {
    float* row = out.f32().row(r);
    if (row != values)
      for (int64_t c = 0; c < dim; ++c) row[c] = values[c];
    return;
  }
  float absmax = 0;
#pragma omp simd reduction(max : absmax)
  for (int64_t c = 0; c < dim; ++c) absmax = std::max(absmax, std::fabs(values[c]));
  const float scale = fp8_row_scale(absmax);
  uint8_t* codes = out.codes().row(r);
  for (int64_t c = 0; c < dim; ++c) codes[c] = fp8_quantize(values[c], scale);
  out.scale[r] = scale;
}

}  // namespace emberq::cpu
