#include "ops/cuda/attention/split_kv_dispatch.cuh"

namespace emberq::cuda {

template void split_kv_of<64>(const SplitKvCall&);

}  // namespace emberq::cuda
