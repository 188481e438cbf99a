#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "ops/argmax.h"
#include "ops/attention.h"
#include "ops/buffer.h"
#include "ops/cross_entropy.h"
#include "ops/embed.h"
#include "ops/linear.h"
#include "ops/per_token_quantize.h"
#include "ops/read_kv.h"
#include "ops/rms_norm.h"
#include "ops/rope_append_kv.h"
#include "ops/sample.h"
#include "ops/silu_and_mul.h"
#include "tensor/quantized_weight.h"

namespace emberq {

// Operations that were recorded, with the memory and the sizes that they had.
class Recording {
 public:
  virtual ~Recording() = default;
  virtual void replay() = 0;  // asynchronous, as the operations are
};

// Everything a model asks of the hardware: memory, and one function per operation. Each function is
// asynchronous; synchronize() waits for all of them. An operation that a backend has no kernel for
// is refused by name.
class Backend {
 public:
  virtual ~Backend() = default;
  virtual std::string_view name() const = 0;
  virtual DType activation_type() const = 0;  // of Activations that are not quantized
  // Whether linears that read one input run faster as one.
  virtual bool prefers_joined_linears() const { return false; }

  virtual void* allocate(size_t bytes) = 0;  // at least 64-byte aligned
  virtual void release(void* memory) = 0;
  // What can be allocated still; nullopt where that cannot be said.
  virtual std::optional<size_t> free_memory() const { return std::nullopt; }
  // What is at `from` may change or go when this returns.
  virtual void upload(void* to, const void* from, size_t bytes) = 0;
  virtual void download(void* to, const void* from, size_t bytes) = 0;
  virtual void copy(void* to, const void* from, size_t bytes) = 0;  // both on this backend
  virtual void synchronize() = 0;

  virtual bool records() const { return false; }  // whether it can, and its operations may be
  // The operations that `calls` runs, recorded and not run: replaying them costs one launch. They
  // have run once before with the same sizes, so that their memory is there. Uploads, downloads and
  // waits cannot be recorded.
  virtual std::unique_ptr<Recording> record(const std::function<void()>& calls);

  virtual Weight prepare(const Tensor& dense) = 0;  // [n, k] F32, F16 or BF16
  virtual Weight prepare(const QuantizedWeight& quantized) = 0;
  // Several as one weight, with the rows of join_rows().
  virtual Weight prepare_joined(std::span<const Tensor> parts, int64_t block);
  virtual Weight prepare_joined(std::span<const QuantizedWeight> parts, int64_t block);

  virtual void run(const Embed&) { refuse("embed"); }
  virtual void run(const RmsNorm&) { refuse("rms_norm"); }
  virtual void run(const PerTokenQuantize&) { refuse("per_token_quantize"); }
  virtual void run(const SiluAndMul&) { refuse("silu_and_mul"); }
  virtual void run(const Linear&) { refuse("linear"); }
  // Linears that read one input and not each other's outputs, as if one after the other.
  virtual void run_together(std::span<const Linear> linears) {
    for (const Linear& op : linears) run(op);
  }
  virtual void run(const RopeAppendKv&) { refuse("rope_append_kv"); }
  virtual void run(const Attention&) { refuse("attention"); }
  virtual void run(const ReadKv&) { refuse("read_kv"); }
  virtual void run(const CrossEntropy&) { refuse("cross_entropy"); }
  virtual void run(const Argmax&) { refuse("argmax"); }
  virtual void run(const Sample&) { refuse("sample"); }

 protected:
  [[noreturn]] void refuse(std::string_view operation) const;
};

std::unique_ptr<Backend> make_cpu_backend();
// kNaive: each operation by its definition, to compare with. kBatchInvariant: as kFast, but a row
// of a linear's output is the same to the bit whatever rows are beside it.
enum class CudaKernels { kFast, kBatchInvariant, kNaive };
// Throws Error where there is no usable device.
std::unique_ptr<Backend> make_cuda_backend(CudaKernels kernels = CudaKernels::kFast);
// Why no device can be used, as the end of a sentence; empty where one can.
std::string cuda_obstacle();
inline bool cuda_available() { return cuda_obstacle().empty(); }

// A buffer with these values in it.
Buffer upload(Backend& backend, std::span<const std::byte> bytes);
template <class T>
Buffer upload(Backend& backend, const std::vector<T>& values) {
  return upload(backend, std::as_bytes(std::span(values)));
}

}  // namespace emberq
