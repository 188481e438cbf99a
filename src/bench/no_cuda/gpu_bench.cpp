// Stands in for src/bench/cuda in a build without CUDA.
#include "base/error.h"
#include "bench/attention_bench.h"
#include "bench/gemm_bench.h"
#include "bench/repack_bench.h"

namespace emberq::bench {
namespace {

[[noreturn]] void refuse() {
  throw Error("this build has no CUDA backend (configure with --preset cuda)");
}

}  // namespace

std::unique_ptr<Meter> make_gpu_meter(Backend&, Regime) { refuse(); }
std::string gpu_name() { refuse(); }
GemmResult run_gemm_bench(const GemmBench&) { refuse(); }
AttentionResult run_attention_bench(const AttentionBench&) { refuse(); }
RepackResult run_repack_bench(const RepackBench&) { refuse(); }

}  // namespace emberq::bench
