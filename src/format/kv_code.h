#pragma once

#include <array>
#include <cmath>
#include <span>

#include "format/fp16.h"
#include "format/lut4.h"
#include "format/scale.h"

// From a head's vector (one token's K or V) to its codes and scale, for each KvScheme.
namespace emberq {

// kInt4Zero: q = clamp(round_half_even((x - min) / scale), 0, 15), value = min + q * scale, with
// scale and min as stored. A constant vector has scale 1.
struct ZeroScale {
  fp16 scale, min;
};
static_assert(sizeof(ZeroScale) == 4);

// kLut4Head: the scale is absmax / 224 times one of these, the one with the least squared error
// over the vector; of equal ones the first. A kernel tries them on values it holds in registers.
inline constexpr std::array<float, 8> kLut4ScaleSearch = {1.0f, 1.1f,  1.05f, 0.95f,
                                                          0.9f, 0.85f, 0.8f,  0.75f};

}  // namespace emberq
