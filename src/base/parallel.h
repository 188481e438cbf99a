#pragma once

#include <omp.h>

#include <atomic>
#include <cstdint>
#include <exception>

namespace emberq {

// How many threads parallel_for and the BLAS use from here on.
void set_threads(int threads);
int threads();

// Takes what the processor affinity and the cgroup leave to this process (base/cpu_limit.h), where
// OMP_NUM_THREADS does not say otherwise.
void set_default_threads();

// body(i) for every i in [begin, end), on all threads, in no order; on the calling thread where
// there are no more than `grain` of them, which is less work than waking the others. The first
// exception that a body throws is thrown here once all threads have stopped.
template <class Body>
void parallel_for(int64_t begin, int64_t end, const Body& body, int64_t grain = 1) {
  std::exception_ptr error;
  std::atomic<bool> failed = false;
#pragma omp parallel for schedule(dynamic) if (end - begin > grain)
  for (int64_t i = begin; i < end; ++i) {
    if (failed.load(std::memory_order_relaxed)) continue;
    try {
      body(i);
    } catch (...) {
      if (!failed.exchange(true)) error = std::current_exception();
    }
  }
  if (error) std::rethrow_exception(error);
}

}  // namespace emberq
