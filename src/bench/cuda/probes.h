#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>

namespace emberq::bench {

void run_empty(cudaStream_t stream);  // a kernel that does nothing

// Reads memory without writing. A flush by writes would leave dirty lines in the L2, which go back
// to memory during the next kernel and cost 8 to 16 us.
constexpr size_t kReadUnit = size_t(32) << 10;  // bytes are a multiple of it
void run_read(const void* from, size_t bytes, unsigned* sink, cudaStream_t stream);

}  // namespace emberq::bench
