#pragma once

#include <cuda_runtime_api.h>

#include <string>

#include "base/error.h"

#define CUDA_CHECK(call)                                                         \
  do {                                                                           \
    if (const cudaError_t error_ = (call); error_ != cudaSuccess) [[unlikely]]   \
      ::emberq::fail(#call, std::string("CUDA: ") + cudaGetErrorString(error_)); \
  } while (false)
