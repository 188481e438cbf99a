#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "ops/backend.h"
#include "ops/cost.h"

namespace emberq::bench {

// A kind of operation in a model: its name, and of a linear the shape of its weights.
struct OperationCalls {
  std::string operation;  // "attention", "linear 28672 x 4096"
  int calls = 0;
  double bytes = 0;  // that all of them must move, by their cost()
};

// A backend that leaves the calls of one kind of operation out: the time of a step without it says
// what it adds to the step, next to its neighbours and with the launches overlapping. What a step
// computes without it has no meaning.
class PartialBackend : public Backend {
 public:
  explicit PartialBackend(Backend& whole) : whole_(&whole) {}

  // Empty: nothing is left out.
  void leave_out(std::string operation) { left_out_ = std::move(operation); }
  // The calls since the last start_counting() that ran, in the order of their first; what is only
  // recorded does not count.
  void start_counting() { calls_.clear(); }
  const std::vector<OperationCalls>& calls() const { return calls_; }

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
  std::unique_ptr<Recording> record(const std::function<void()>& calls) override;
  Weight prepare(const Tensor& dense) override { return whole_->prepare(dense); }
  Weight prepare(const QuantizedWeight& quantized) override { return whole_->prepare(quantized); }
  Weight prepare_joined(std::span<const Tensor> parts, int64_t block) override {
    return whole_->prepare_joined(parts, block);
  }
  Weight prepare_joined(std::span<const QuantizedWeight> parts, int64_t block) override {
    return whole_->prepare_joined(parts, block);
  }

  void run(const Embed& op) override { forward("embed", op); }
  void run(const RmsNorm& op) override { forward("rms_norm", op); }
  void run(const PerTokenQuantize& op) override { forward("per_token_quantize", op); }
  void run(const SiluAndMul& op) override { forward("silu_and_mul", op); }
  void run(const Linear& op) override;
  void run_together(std::span<const Linear> linears) override;
  void run(const RopeAppendKv& op) override { forward("rope_append_kv", op); }
  void run(const Attention& op) override { forward("attention", op); }
  void run(const ReadKv& op) override { whole_->run(op); }
  void run(const CrossEntropy& op) override { whole_->run(op); }
  void run(const Argmax& op) override { forward("argmax", op); }
  void run(const Sample& op) override { forward("sample", op); }

 private:
  void count(const std::string& operation, double bytes);
  template <class Op>
  void forward(const std::string& operation, const Op& op) {
    count(operation, cost(op).bytes);
    if (operation != left_out_) whole_->run(op);
  }

  Backend* whole_;
  std::string left_out_;
  bool recording_ = false;
  std::vector<OperationCalls> calls_;
};

}  // namespace emberq::bench
