#include "ops/cuda/attention/prefill.h"

#include <vector>

namespace emberq::cuda {

PrefillWorkspace::PrefillWorkspace(Backend& of, int count)
    : multiprocessors(count), counters(upload(of, std::vector<int>(2))) {}

void attention_prefill(const PrefillCall& call) {
  return call.op.cache.head_dim == 64 ? prefill_of<64>(call) : prefill_of<128>(call);
}

}  // namespace emberq::cuda
