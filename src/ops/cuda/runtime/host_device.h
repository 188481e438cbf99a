#pragma once

// Device code that tests run on the CPU too, compiled by any compiler.
#ifdef __CUDACC__
#define EMBERQ_HOST_DEVICE __host__ __device__
#else
#define EMBERQ_HOST_DEVICE
#endif
