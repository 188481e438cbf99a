#include "ops/cuda/attention/prefill_dispatch.cuh"

namespace emberq::cuda {

template void prefill_of<128>(const PrefillCall&);

}  // namespace emberq::cuda
