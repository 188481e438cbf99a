#pragma once

// Attention of many new tokens: a CTA has tiles of 128 queries, and a tile of keys and values is
// expanded from its codes once for all of them.
#include "ops/cuda/attention/prefill_consumer.cuh"
#include "ops/cuda/attention/prefill_producer.cuh"
#include "ops/cuda/runtime/launch.cuh"

namespace emberq::cuda {

// Warpgroups 0 and 1 multiply, 2 expands codes, and a warp of 3 loads them.
template <class Operands>
struct PrefillKernel {
  using Args = PrefillArgs;
  using Memory = PrefillMemory<Operands>;
  static constexpr int kThreads = 512, kMinBlocksPerSm = 1;
  static constexpr int kAlignment = 1024;
  static constexpr int kSharedBytes = int(sizeof(Memory)) + kAlignment;
  static constexpr bool kUsesPdl = true;
  // Of a thread. Together four warpgroups' threads have 512 registers.
  static constexpr int kLoadRegisters = 24, kExpandRegisters = Operands::kExpandRegisters,
                       kMultiplyRegisters = (512 - kLoadRegisters - kExpandRegisters) / 2;

  static __device__ void run(const Args& a) {
    extern __shared__ uint8_t memory[];
    const uint32_t offset = -ptx::shared_address(memory) % kAlignment;
    Memory& m = *reinterpret_cast<Memory*>(memory + offset);
    const int warp = ptx::warp_uniform(int(threadIdx.x) / 32), warpgroup = warp / 4;
    if (threadIdx.x == 0) m.init_barriers();
    ptx::griddepcontrol_wait();
    if (warp == 1) m.fixed.schedule.build(a);
    ptx::fence_mbarrier_init();
    ptx::griddepcontrol_launch_dependents();

    if (warpgroup == 3) {
      ptx::setmaxnreg_dec<kLoadRegisters>();
      if (warp == 12) PrefillProducer<Operands>::load(a, m);
    } else if (warpgroup == 2) {
      ptx::setmaxnreg_dec<kExpandRegisters>();
      PrefillProducer<Operands>::expand(a, m);
    } else {
      ptx::setmaxnreg_inc<kMultiplyRegisters>();
      PrefillConsumer<Operands>::run(a, m, warpgroup);
    }
  }
};

}  // namespace emberq::cuda
