#include <array>
#include <cstring>
#include <optional>
#include <string>
#include <type_traits>

#include "base/check.h"
#include "format/kv_encode.h"
#include "ops/backend.h"
#include "ops/cuda/attention/attention.h"
#include "ops/cuda/attention/prefill.h"
#include "ops/cuda/attention/split_kv.h"
#include "ops/cuda/cublaslt/dense_products.h"
#include "ops/cuda/cuda_weight.h"
#include "ops/cuda/kernel_choices.h"
#include "ops/cuda/linear/embed_rows.h"
#include "ops/cuda/rows/rows.h"
#include "ops/cuda/runtime/check.h"
#include "ops/cuda/runtime/device.h"
#include "ops/cuda/runtime/handle.h"
#include "ops/cuda/runtime/stream.h"
#include "ops/cuda/runtime/upload_ring.h"

namespace emberq {
namespace {

constexpr int kDevice = 0;

int attribute(cudaDeviceAttr which) {
  int value = 0;
  CUDA_CHECK(cudaDeviceGetAttribute(&value, which, kDevice));
  return value;
}

std::string device_name() {
  cudaDeviceProp properties;
  CUDA_CHECK(cudaGetDeviceProperties(&properties, kDevice));
  return properties.name;
}

}  // namespace

// The kernels are machine code for compute capability 9.0 only.
std::string cuda_obstacle() {
  int count = 0;
  const cudaError_t error = cudaGetDeviceCount(&count);
  if (error != cudaSuccess) return cudaGetErrorString(error);
  if (count == 0) return "there is no CUDA device";
  const int major = attribute(cudaDevAttrComputeCapabilityMajor),
            minor = attribute(cudaDevAttrComputeCapabilityMinor);
  if (major != 9 || minor != 0)
    return fmt::format("the device has compute capability {}.{}, the kernels need 9.0", major,
                       minor);
  return "";
}

namespace {

class CudaBackend final : public Backend, public KernelChooser {
 public:
  explicit CudaBackend(CudaKernels kernels) : kernels_(kernels) {
    CUDA_CHECK(cudaStreamCreateWithFlags(stream_.address(), cudaStreamNonBlocking));
    // The pool keeps released memory, so that it can be allocated again without a wait.
    cudaMemPool_t pool = nullptr;
    uint64_t kept = ~uint64_t(0);
    CUDA_CHECK(cudaDeviceGetDefaultMemPool(&pool, kDevice));
    CUDA_CHECK(cudaMemPoolSetAttribute(pool, cudaMemPoolAttrReleaseThreshold, &kept));
    if (kernels == CudaKernels::kNaive) return;
    split_kv_.emplace(*this, multiprocessors_);
    prefill_.emplace(*this, multiprocessors_);
    dense_.emplace(*this, stream_);
  }
  ~CudaBackend() override { cudaStreamSynchronize(stream_); }

  std::string_view name() const override {
    switch (kernels_) {
      case CudaKernels::kNaive:
        return "cuda-naive";
      case CudaKernels::kBatchInvariant:
        return "cuda-batch-invariant";
      default:
        return "cuda";
    }
  }
  DType activation_type() const override { return DType::kBF16; }
  bool prefers_joined_linears() const override { return kernels_ != CudaKernels::kNaive; }

  void* allocate(size_t bytes) override {
    void* memory = nullptr;
    if (bytes > 0) CUDA_CHECK(cudaMallocAsync(&memory, bytes, stream_));
    return memory;
  }
  void release(void* memory) override { cudaFreeAsync(memory, stream_); }
  // What the pool keeps counts as free.
  std::optional<size_t> free_memory() const override {
    size_t free = 0, total = 0;
    uint64_t reserved = 0, used = 0;
    cudaMemPool_t pool = nullptr;
    CUDA_CHECK(cudaMemGetInfo(&free, &total));
    CUDA_CHECK(cudaDeviceGetDefaultMemPool(&pool, kDevice));
    CUDA_CHECK(cudaMemPoolGetAttribute(pool, cudaMemPoolAttrReservedMemCurrent, &reserved));
    CUDA_CHECK(cudaMemPoolGetAttribute(pool, cudaMemPoolAttrUsedMemCurrent, &used));
    return free + size_t(reserved - used);
  }
  // CUDA takes a copy of what is small before it returns. What is large it would copy by one
  // thread, after all that is on the stream.
  void upload(void* to, const void* from, size_t bytes) override {
    if (bytes < cuda::UploadRing::kLeastBytes) {
      CUDA_CHECK(cudaMemcpyAsync(to, from, bytes, cudaMemcpyHostToDevice, stream_));
      return;
    }
    ring_.upload(to, bytes, [&](size_t begin, std::span<std::byte> piece) {
      std::memcpy(piece.data(), static_cast<const std::byte*>(from) + begin, piece.size());
    });
  }
  void download(void* to, const void* from, size_t bytes) override {
    CUDA_CHECK(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToHost, stream_));
  }
  void copy(void* to, const void* from, size_t bytes) override {
    CUDA_CHECK(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, stream_));
  }
  void synchronize() override { CUDA_CHECK(cudaStreamSynchronize(stream_)); }

  // The batch-invariant kernels' memory is of the lengths.
  bool records() const override { return kernels_ == CudaKernels::kFast; }
  std::unique_ptr<Recording> record(const std::function<void()>& calls) override;
  cudaStream_t stream() const { return stream_; }
  cuda::UploadRing& ring() { return ring_; }
  // By PDL a linear reads its weights before earlier kernels have ended.
  void settle_weights() {
    if (!settled_) synchronize();
    settled_ = true;
  }

  Weight prepare(const Tensor& dense) override { return prepare_joined(std::span(&dense, 1), 0); }
  Weight prepare(const QuantizedWeight& quantized) override {
    return prepare_joined(std::span(&quantized, 1), 0);
  }
  // These do not wait: settle_weights() does, before a weight is read.
  Weight prepare_joined(std::span<const Tensor> parts, int64_t block) override {
    settled_ = false;
    auto weight = std::make_shared<cuda::CudaWeight>();
    for (const Tensor& part : parts) weight->n += part.shape().at(0);
    weight->k = parts.front().shape().at(1);
    weight->data = cuda::upload_unquantized(*this, parts, block);
    const size_t bytes = size_t(weight->n * weight->k) * size_bytes(DType::kBF16);
    return {weight->n, weight->k, bytes, std::move(weight)};
  }
  Weight prepare_joined(std::span<const QuantizedWeight> parts, int64_t block) override {
    settled_ = false;
    cuda::CanonicalWeight canonical = cuda::upload_canonical(*this, parts, block);
    auto weight = std::make_shared<cuda::CudaWeight>();
    for (const QuantizedWeight& part : parts) weight->n += part.n;
    weight->k = parts.front().k;
    if (kernels_ == CudaKernels::kNaive)
      weight->data = std::move(canonical);
    else if (cuda::has_operand(canonical, weight->k))
      weight->data = cuda::repack(*this, canonical, weight->n, weight->k, stream_);
    else
      weight->data = cuda::to_bytes(*this, canonical, weight->n, weight->k, stream_);
    const size_t bytes = cuda::bytes_read(*weight, parts);
    return {weight->n, weight->k, bytes, std::move(weight)};
  }

  void run(const Embed& op) override {
    check(op);
    settle_weights();
    std::visit([&](const auto& table) { embed(op, table); }, cuda::cuda_weight(*op.table).data);
  }

  void run(const RmsNorm& op) override { run_rows("rms_norm", op, cuda::rms_norm); }
  void run(const PerTokenQuantize& op) override {
    run_rows("per_token_quantize", op, cuda::per_token_quantize);
  }
  void run(const SiluAndMul& op) override { run_rows("silu_and_mul", op, cuda::silu_and_mul); }

  void run(const Linear& op) override { run(op, cuda::LinearOrder::kAlone, 0); }
  void run_together(std::span<const Linear> linears) override {
    const bool first_takes_others = linears.size() > 1 && linears.size() <= kTogether &&
                                    kernels_ != CudaKernels::kNaive && tiled(linears[0]);
    for (size_t i = 0; i < linears.size(); ++i)
      run(linears[i],
          !first_takes_others ? cuda::LinearOrder::kAlone
          : i == 0            ? cuda::LinearOrder::kFirst
                              : cuda::LinearOrder::kFollows,
          i);
  }
  void run(const RopeAppendKv& op) override {
    check(op);
    require_head_dim("rope_append_kv", op.cache);
    if (op.q.dtype != DType::kBF16 || op.query.dtype == DType::kF32)
      refuse("rope_append_kv of other types than BF16");
    if (const int64_t dim = op.cache.head_dim; dim % kv_lane_channels(dim) != 0)
      refuse(fmt::format("rope_append_kv of heads of {} channels, not a multiple of {}", dim,
                         kv_lane_channels(dim)));
    cuda::rope_append_kv(op, multiprocessors_, stream_);
  }
  void run(const Attention& op) override {
    check(op);
    require_types(op);
    switch (kernel_of(op)) {
      case cuda::AttentionKernel::kNaive:
        return cuda::attention_naive(op, stream_);
      case cuda::AttentionKernel::kPrefill:
        return cuda::attention_prefill({.op = op, .workspace = *prefill_, .stream = stream_});
      case cuda::AttentionKernel::kSplitKv: {
        const auto plan = cuda::split_kv_plan(op, invariant());
        return cuda::attention_split_kv(
            {.op = op, .plan = plan, .workspace = *split_kv_, .stream = stream_});
      }
    }
  }
  void run(const ReadKv& op) override {
    check(op);
    cuda::read_kv(op, stream_);
  }
  void run(const CrossEntropy& op) override {
    check(op);
    if (op.logits.dtype != DType::kF32) refuse("cross_entropy of other types than F32");
    cuda::cross_entropy(op, stream_);
  }
  void run(const Argmax& op) override {
    check(op);
    cuda::argmax(op, stream_);
  }
  void run(const Sample& op) override {
    check(op);
    if (op.logits.dim > cuda::kMaxSampled)
      refuse(fmt::format("sample of more than {} logits", cuda::kMaxSampled));
    cuda::sample(op, stream_);
  }

  KernelChoice choice(const AnyOperation& op) override {
    return std::visit([&](const auto* one) { return check(*one), choice_of(*one); }, op);
  }

 private:
  void embed(const Embed& op, const cuda::UnquantizedWeight& table) {
    cuda::embed(op, table.values.as<void>(), stream_);
  }
  void embed(const Embed& op, const auto& table) { cuda::embed_rows(op, table, stream_); }

  bool invariant() const { return kernels_ == CudaKernels::kBatchInvariant; }

  // What multiplies. run() and choice() go by it.
  cuda::LinearPath path(const Linear& op) {
    if (kernels_ == CudaKernels::kNaive) return cuda::LinearPath::kNaive;
    if (tiled(op)) return cuda::LinearPath::kTiled;
    const auto& data = cuda::cuda_weight(*op.weight).data;
    const bool dense = std::holds_alternative<cuda::UnquantizedWeight>(data);
    return dense && !invariant() && dense_->obstacle(op).empty() ? cuda::LinearPath::kLibrary
                                                                 : cuda::LinearPath::kGeneral;
  }
  cuda::AttentionKernel kernel_of(const Attention& op) const {
    return kernels_ == CudaKernels::kNaive ? cuda::AttentionKernel::kNaive
                                           : cuda::attention_kernel(op, invariant());
  }

  KernelChoice choice_of(const Linear& op) {
    require_types(op);
    const auto& weight = cuda::cuda_weight(*op.weight);
    const cuda::LinearPath taken = path(op);
    std::string_view obstacle;  // to the library
    if (taken == cuda::LinearPath::kGeneral &&
        std::holds_alternative<cuda::UnquantizedWeight>(weight.data))
      obstacle = invariant() ? "cuBLASLt is not batch-invariant" : dense_->obstacle(op);
    return cuda::linear_choice(card_, op, weight, taken, invariant(), obstacle);
  }
  KernelChoice choice_of(const Attention& op) {
    require_types(op);
    return cuda::attention_choice(card_, op, kernel_of(op), invariant());
  }
  template <class Op>
  KernelChoice choice_of(const Op& op) {
    return cuda::row_choice(card_, op);
  }

  // Whether LinearKernel or SliceKernel runs it.
  static bool tiled(const Linear& op) {
    const auto& data = cuda::cuda_weight(*op.weight).data;
    return std::holds_alternative<cuda::TiledWeight>(data) && op.x.dtype == DType::kF8E4M3 &&
           op.x.group == 0 && !op.rows && op.out.dtype != DType::kF32;
  }

  void require_types(const Linear& op) const {
    if (!op.x.quantized() && op.x.dtype != DType::kBF16)
      refuse("linear of " + std::string(emberq::name(op.x.dtype)) + " inputs");
    if (const DType out = op.out.dtype;
        out != DType::kF32 && out != DType::kF16 && out != DType::kBF16)
      refuse("linear to " + std::string(emberq::name(out)));
    if (op.residual && op.residual.dtype != op.out.dtype)
      refuse("linear with a residual of another type than its output");
  }
  void require_types(const Attention& op) const {
    require_head_dim("attention", op.cache);
    if (op.out.dtype != DType::kBF16) refuse("attention to other types than BF16");
  }

  // `index`: among linears that run together.
  void run(const Linear& op, cuda::LinearOrder order, size_t index) {
    check(op);
    settle_weights();
    require_types(op);
    const auto& data = cuda::cuda_weight(*op.weight).data;
    if (tiled(op)) {
      std::optional<cuda::Workspace>& workspace = workspaces_[index];
      if (!workspace) workspace.emplace(*this, multiprocessors_);
      return cuda::linear(
          {.op = op,
           .weight = std::get<cuda::TiledWeight>(data),
           .workspace = *workspace,
           .invariant = invariant() ? cuda::BatchInvariant::kYes : cuda::BatchInvariant::kNo,
           .order = order,
           .stream = stream_});
    }
    std::visit([&](const auto& weight) { multiply(op, weight); }, data);
  }
  void multiply(const Linear& op, const cuda::CanonicalWeight& weight) {
    cuda::linear_naive(op, weight, stream_);
  }
  void multiply(const Linear& op, const cuda::ByteWeight& weight) {
    cuda::linear_general(*this, op, weight, stream_);
  }
  void multiply(const Linear& op, const cuda::UnquantizedWeight& weight) {
    const void* values = weight.values.as<void>();
    switch (path(op)) {
      case cuda::LinearPath::kNaive:
        return cuda::linear_naive(op, values, stream_);
      case cuda::LinearPath::kLibrary:
        if (dense_->run(op, values)) return;
        [[fallthrough]];
      default:
        return cuda::linear_general(*this, op, values, stream_);
    }
  }
  void multiply(const Linear& op, const cuda::TiledWeight& weight) {
    cuda::linear_general(*this, op, weight, stream_);
  }

  void require_head_dim(const std::string& operation, const KvLayer& cache) const {
    if (cache.head_dim > cuda::kMaxHeadDim)
      refuse(fmt::format("{} of heads of more than {} channels", operation, cuda::kMaxHeadDim));
  }

  // Runs a kernel on rows, of which there are no naive ones. Codes in groups are made of what it
  // writes in F32, or of its input as that is.
  template <class Op>
  void run_rows(const std::string& name, const Op& op, void (*kernel)(const Op&, cudaStream_t)) {
    check(op);
    if (kernels_ == CudaKernels::kNaive) refuse(name);
    if (op.out.scales_per_row() == 1) return kernel(op, stream_);
    if constexpr (std::is_same_v<Op, PerTokenQuantize>) {
      cuda::quantize_groups(op.x, op.out, stream_);
    } else {
      const Buffer values(*this, size_t(op.out.rows * op.out.dim) * sizeof(float));
      Op in_float = op;
      in_float.out = {DType::kF32, values.as<void>(), nullptr, op.out.rows, op.out.dim};
      kernel(in_float, stream_);
      cuda::quantize_groups(in_float.out, op.out, stream_);
    }
  }

  CudaKernels kernels_;
  int multiprocessors_ = cuda::multiprocessors();
  cuda::Card card_ = cuda::card_of(device_name(), multiprocessors_);
  cuda::Stream stream_;
  // Of linears that run together, at most.
  static constexpr size_t kTogether = 3;
  std::array<std::optional<cuda::Workspace>, kTogether> workspaces_;
  cuda::UploadRing ring_{stream_};
  bool settled_ = true;  // what prepare_joined() has started is known to have ended
  std::optional<cuda::SplitKvWorkspace> split_kv_;
  std::optional<cuda::PrefillWorkspace> prefill_;
  std::optional<cuda::DenseProducts> dense_;
};

// What was launched on the stream, as a graph that has been prepared for its launch.
class CudaRecording final : public Recording {
 public:
  CudaRecording(cudaStream_t stream, const std::function<void()>& calls) : stream_(stream) {
    CUDA_CHECK(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
    try {
      calls();
    } catch (...) {
      cudaStreamEndCapture(stream, graph_.address());
      throw;
    }
    CUDA_CHECK(cudaStreamEndCapture(stream, graph_.address()));
    CUDA_CHECK(cudaGraphInstantiate(exec_.address(), graph_, 0));
    CUDA_CHECK(cudaGraphUpload(exec_, stream));
  }
  void replay() override { CUDA_CHECK(cudaGraphLaunch(exec_, stream_)); }

 private:
  cudaStream_t stream_;
  cuda::Graph graph_;
  cuda::GraphExec exec_;
};

std::unique_ptr<Recording> CudaBackend::record(const std::function<void()>& calls) {
  settle_weights();
  return std::make_unique<CudaRecording>(stream_, calls);
}

}  // namespace

cudaStream_t cuda::stream_of(Backend& backend) {
  return dynamic_cast<CudaBackend&>(backend).stream();
}

cuda::UploadRing& cuda::upload_ring_of(Backend& backend) {
  return dynamic_cast<CudaBackend&>(backend).ring();
}

std::unique_ptr<Backend> make_cuda_backend(CudaKernels kernels) {
  const std::string why_not = cuda_obstacle();
  EMBERQ_CHECK(why_not.empty(), "the cuda backend cannot run: {}", why_not);
  return std::make_unique<CudaBackend>(kernels);
}

}  // namespace emberq
