#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string_view>

#include "base/check.h"
#include "ops/backend.h"
#include "ops/kernel_choice.h"

namespace emberq {

// A backend that passes everything on to another, which lives longer. What derives from it changes
// some of that.
class WrappedBackend : public Backend, public KernelChooser {
 public:
  explicit WrappedBackend(Backend& whole) : whole_(&whole) {}

  std::string_view name() const override { return whole_->name(); }
  DType activation_type() const override { return whole_->activation_type(); }
  bool prefers_joined_linears() const override { return whole_->prefers_joined_linears(); }
  void* allocate(size_t bytes) override { return whole_->allocate(bytes); }
  void release(void* memory) override { whole_->release(memory); }
  std::optional<size_t> free_memory() const override { return whole_->free_memory(); }
  void upload(void* to, const void* from, size_t bytes) override {
    whole_->upload(to, from, bytes);
  }
  void download(void* to, const void* from, size_t bytes) override {
    whole_->download(to, from, bytes);
  }
  void copy(void* to, const void* from, size_t bytes) override { whole_->copy(to, from, bytes); }
  void synchronize() override { whole_->synchronize(); }
  bool records() const override { return whole_->records(); }
  std::unique_ptr<Recording> record(const std::function<void()>& calls) override {
    return whole_->record(calls);
  }
  Weight prepare(const Tensor& dense) override { return whole_->prepare(dense); }
  Weight prepare(const QuantizedWeight& quantized) override { return whole_->prepare(quantized); }
  Weight prepare_joined(std::span<const Tensor> parts, int64_t block) override {
    return whole_->prepare_joined(parts, block);
  }
  Weight prepare_joined(std::span<const QuantizedWeight> parts, int64_t block) override {
    return whole_->prepare_joined(parts, block);
  }

  void run(const Embed& op) override { whole_->run(op); }
  void run(const RmsNorm& op) override { whole_->run(op); }
  void run(const PerTokenQuantize& op) override { whole_->run(op); }
  void run(const SiluAndMul& op) override { whole_->run(op); }
  void run(const Linear& op) override { whole_->run(op); }
  void run_together(std::span<const Linear> linears) override { whole_->run_together(linears); }
  void run(const RopeAppendKv& op) override { whole_->run(op); }
  void run(const Attention& op) override { whole_->run(op); }
  void run(const ReadKv& op) override { whole_->run(op); }
  void run(const CrossEntropy& op) override { whole_->run(op); }
  void run(const Argmax& op) override { whole_->run(op); }
  void run(const Sample& op) override { whole_->run(op); }

  KernelChoice choice(const AnyOperation& op) override {
    auto* const chooser = dynamic_cast<KernelChooser*>(whole_);
    EMBERQ_CHECK(chooser, "the {} backend does not name its kernels", name());
    return chooser->choice(op);
  }

 protected:
  Backend& whole() { return *whole_; }

 private:
  Backend* whole_;
};

}  // namespace emberq
