// Stands in for src/bench/cuda/cutlass in a build without CUTLASS's headers.
#include "bench/cuda/cutlass.h"

#include "base/error.h"

namespace emberq::bench {
namespace {

[[noreturn]] void refuse() {
  throw Error("this build has no CUTLASS (configure with -DEMBERQ_CUTLASS_DIR)");
}

}  // namespace

std::string cutlass_version() { return ""; }
CutlassWeight cutlass_weight(Backend&, const QuantizedWeight&) { refuse(); }
CutlassProduct::CutlassProduct(Backend&, int64_t, int64_t, int64_t) { refuse(); }
int CutlassProduct::variants() { return 0; }
std::string CutlassProduct::name(int) { refuse(); }
bool CutlassProduct::run(int, const void*, const CutlassWeight&, void*) const { refuse(); }

}  // namespace emberq::bench
