#pragma once

// Marks device code that tests run on the CPU too. Any compiler accepts it.
#ifdef __CUDACC__
#define EMBERQ_HOST_DEVICE __host__ __device__
#else
#define EMBERQ_HOST_DEVICE
#endif
