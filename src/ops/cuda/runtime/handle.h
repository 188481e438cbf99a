#pragma once

#include <cuda_runtime_api.h>

namespace emberq::cuda {

// Owns a CUDA handle. A create function writes it to address().
template <class T, auto kDestroy>
class Handle {
 public:
  Handle() = default;
  ~Handle() {
    if (handle_) kDestroy(handle_);
  }
  Handle(const Handle&) = delete;
  Handle& operator=(const Handle&) = delete;

  T* address() { return &handle_; }
  operator T() const { return handle_; }

 private:
  T handle_ = nullptr;
};

using Stream = Handle<cudaStream_t, cudaStreamDestroy>;
using Event = Handle<cudaEvent_t, cudaEventDestroy>;
using Graph = Handle<cudaGraph_t, cudaGraphDestroy>;
using GraphExec = Handle<cudaGraphExec_t, cudaGraphExecDestroy>;

}  // namespace emberq::cuda
