// Stands in for src/measure/cuda in a build without CUDA.
#include "measure/gemm_bench.h"

#include "base/error.h"

namespace emberq {

GemmResult run_gemm_bench(const GemmBench&) {
  throw Error("this build has no CUDA backend (configure with --preset cuda)");
}

}  // namespace emberq
