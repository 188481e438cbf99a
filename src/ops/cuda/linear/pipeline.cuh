#pragma once

#include <cstdint>

#include "ops/cuda/ptx/mbarrier.cuh"

namespace emberq::cuda {

// The shared memory of LinearKernel, by addresses.
struct PipelineMemory {
  uint32_t tokens;        // [stages][tokens][128] e4m3
  uint32_t weights;       // [stages][m_warpgroups] tiles
  uint32_t staging;       // [math warpgroups]: outputs, and sums that sliced-K exchanges
  uint32_t token_scales;  // [math warpgroups]
  uint32_t full, empty;   // [stages] mbarriers
  uint32_t operand_table;

  __device__ ptx::Mbarrier full_of(int stage) const { return {full + stage * 8u}; }
  __device__ ptx::Mbarrier empty_of(int stage) const { return {empty + stage * 8u}; }
};

// The position of a thread in the ring of stages. The phase tells the rounds of the ring apart.
template <int kStages>
struct PipelineState {
  int stage = 0, phase = 0;

  template <int kSteps = 1>
  __device__ void advance() {
    static_assert(kSteps <= kStages);
    stage += kSteps;
    if (stage >= kStages) stage -= kStages, phase ^= 1;
  }
  __device__ void advance(int steps) {
    const auto to = unsigned(stage + steps);
    stage = int(to % kStages), phase ^= int(to / kStages & 1);
  }
};

}  // namespace emberq::cuda
