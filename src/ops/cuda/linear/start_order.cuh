#pragma once

#include "ops/cuda/linear/linear.h"
#include "ops/cuda/ptx/sync.cuh"

namespace emberq::cuda {

// When a CTA of a linear waits for earlier kernels and releases the next one. A linear that follows
// another has started after all CTAs of the first had seen that the input is complete. It waits for
// the first before it ends, since kernels after it wait only for it.
struct StartOrder {
  LinearOrder order;

  __device__ void begin() const {
    if (order != LinearOrder::kFirst) ptx::griddepcontrol_launch_dependents();
  }
  __device__ void wait_for_input() const {
    if (order != LinearOrder::kFollows) ptx::griddepcontrol_wait();
    if (order == LinearOrder::kFirst) ptx::griddepcontrol_launch_dependents();
  }
  __device__ void end() const {
    if (order == LinearOrder::kFollows) ptx::griddepcontrol_wait();
  }
};

}  // namespace emberq::cuda
