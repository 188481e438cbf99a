#include "ops/cuda/cuda_backend.h"

#include "base/check.h"
#include "ops/backend.h"
#include "ops/cuda/cuda_check.h"

namespace emberq {
namespace {

class CudaBackend final : public Backend {
 public:
  CudaBackend() { CUDA_CHECK(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking)); }
  ~CudaBackend() override { cudaStreamDestroy(stream_); }

  std::string_view name() const override { return "cuda"; }
  DType activation_type() const override { return DType::kBF16; }

  void* allocate(size_t bytes) override {
    void* memory = nullptr;
    CUDA_CHECK(cudaMalloc(&memory, bytes));
    return memory;
  }
  void release(void* memory) override { cudaFree(memory); }
  void upload(void* to, const void* from, size_t bytes) override {
    CUDA_CHECK(cudaMemcpyAsync(to, from, bytes, cudaMemcpyHostToDevice, stream_));
  }
  void download(void* to, const void* from, size_t bytes) override {
    CUDA_CHECK(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToHost, stream_));
  }
  void copy(void* to, const void* from, size_t bytes) override {
    CUDA_CHECK(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, stream_));
  }
  void synchronize() override { CUDA_CHECK(cudaStreamSynchronize(stream_)); }

  Weight prepare(const Tensor&) override { refuse("dense weight"); }
  Weight prepare(const QuantizedWeight&) override { refuse("quantized weight"); }

  void run(const RmsNorm& op) override { check(op), cuda::rms_norm(op, stream_); }

 private:
  cudaStream_t stream_ = nullptr;
};

}  // namespace

bool cuda_available() {
  int count = 0;
  return cudaGetDeviceCount(&count) == cudaSuccess && count > 0;
}

std::unique_ptr<Backend> make_cuda_backend() {
  EMBERQ_CHECK(cuda_available(), "no CUDA device is usable here");
  return std::make_unique<CudaBackend>();
}

}  // namespace emberq
