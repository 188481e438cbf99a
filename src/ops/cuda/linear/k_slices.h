#pragma once

#include <cstdint>

#include "ops/cuda/runtime/host_device.h"

namespace emberq::cuda {

// The k tiles in eight parts, [k_tiles i / 8, k_tiles (i + 1) / 8), each summed by itself.
inline constexpr int kSlices = 8;
EMBERQ_HOST_DEVICE constexpr int slice_begin(int k_tiles, int slice) {
  return int(int64_t(k_tiles) * slice / kSlices);
}

}  // namespace emberq::cuda
