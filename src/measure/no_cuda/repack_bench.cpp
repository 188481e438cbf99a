// Stands in for src/measure/cuda in a build without CUDA.
#include "measure/repack_bench.h"

#include "base/error.h"

namespace emberq {

RepackResult run_repack_bench(const RepackBench&) {
  throw Error("this build has no CUDA backend (configure with --preset cuda)");
}

}  // namespace emberq
