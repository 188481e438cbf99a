#include "ops/cpu/cpu_backend.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "base/check.h"
#include "base/parallel.h"
#include "ops/cpu/cpu_weight.h"

namespace emberq {
namespace {

class CpuBackend final : public Backend, public KernelChooser {
 public:
  std::string_view name() const override { return "cpu"; }
  DType activation_type() const override { return DType::kF32; }

  void* allocate(size_t bytes) override {
    void* memory = std::aligned_alloc(64, (bytes + 63) / 64 * 64);
    EMBERQ_REQUIRE(memory != nullptr || bytes == 0, "too little memory: cannot allocate {} bytes",
                   bytes);
    return memory;
  }
  void release(void* memory) override { std::free(memory); }
  void upload(void* to, const void* from, size_t bytes) override { copy(to, from, bytes); }
  void download(void* to, const void* from, size_t bytes) override { copy(to, from, bytes); }
  void copy(void* to, const void* from, size_t bytes) override {
    constexpr size_t kChunk = 1 << 20;  // one core does not fill the memory's bandwidth
    parallel_for(0, int64_t((bytes + kChunk - 1) / kChunk), [&](int64_t i) {
      const size_t begin = size_t(i) * kChunk;
      std::memcpy(static_cast<char*>(to) + begin, static_cast<const char*>(from) + begin,
                  std::min(kChunk, bytes - begin));
    });
  }
  void synchronize() override {}

  Weight prepare(const Tensor& dense) override { return cpu::prepare(dense); }
  Weight prepare(const QuantizedWeight& quantized) override { return cpu::prepare(quantized); }

  void run(const Embed& op) override { check(op), cpu::embed(op); }
  void run(const RmsNorm& op) override { check(op), cpu::rms_norm(op); }
  void run(const PerTokenQuantize& op) override { check(op), cpu::per_token_quantize(op); }
  void run(const SiluAndMul& op) override { check(op), cpu::silu_and_mul(op); }
  void run(const Linear& op) override { check(op), cpu::linear(op); }
  void run(const RopeAppendKv& op) override { check(op), cpu::rope_append_kv(op); }
  void run(const Attention& op) override { check(op), cpu::attention(op); }
  void run(const ReadKv& op) override { check(op), cpu::read_kv(op); }
  void run(const CrossEntropy& op) override { check(op), cpu::cross_entropy(op); }
  void run(const Argmax& op) override { check(op), cpu::argmax(op); }
  void run(const Sample& op) override { check(op), cpu::sample(op); }

  KernelChoice choice(const AnyOperation& op) override {
    if (const auto* linear = std::get_if<const Linear*>(&op)) return cpu::linear_choice(**linear);
    return {.kernel = "loops"};
  }
};

}  // namespace

std::unique_ptr<Backend> make_cpu_backend() { return std::make_unique<CpuBackend>(); }

}  // namespace emberq
