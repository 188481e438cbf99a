#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "model/model.h"
#include "ops/wrapped_backend.h"

// Which kernels a model's steps run by, and how near to the hardware's limits they should be.
namespace emberq {

// An operation that the model's step asked for.
struct AskedOperation {
  std::string operation;          // "linear", "attention"
  std::string shape, formats;     // "16 x 4096 x 4096", "int4-g128 x fp8-token"
  const void* weights = nullptr;  // the Weight of a linear, the weights of a norm; or null
  KernelChoice choice;
};

// A backend that can note operations instead of running them. The model is loaded with it.
class ExplainingBackend final : public WrappedBackend {
 public:
  explicit ExplainingBackend(Backend& of) : WrappedBackend(of) {}

  // Until finish() operations are noted and not run, so memory keeps what was in it. finish()
  // gives them in their order.
  void start() { noting_ = true; }
  std::vector<AskedOperation> finish() {
    noting_ = false;
    return std::exchange(noted_, {});
  }

  std::unique_ptr<Recording> record(const std::function<void()>& calls) override;
  Weight prepare(const Tensor& dense) override;
  Weight prepare(const QuantizedWeight& quantized) override;
  Weight prepare_joined(std::span<const Tensor> parts, int64_t block) override;
  Weight prepare_joined(std::span<const QuantizedWeight> parts, int64_t block) override;

  using WrappedBackend::run;
  void run(const Embed& op) override;
  void run(const RmsNorm& op) override;
  void run(const PerTokenQuantize& op) override;
  void run(const SiluAndMul& op) override;
  void run(const Linear& op) override;
  void run_together(std::span<const Linear> linears) override;
  void run(const RopeAppendKv& op) override;
  void run(const Attention& op) override;
  void run(const Argmax& op) override;
  void run(const Sample& op) override;

 private:
  template <class Op>
  void note_or_run(const Op& op);
  Weight named(Weight weight, std::string_view format);

  bool noting_ = false;
  std::vector<AskedOperation> noted_;
  std::map<const DeviceWeight*, std::string> formats_;  // of the weights that were prepared
};

// Sequences that each get so many new tokens, which are the last of `context`.
struct StepShape {
  int64_t sequences = 1, new_tokens = 1, context = 1;
};

// Equal operations of a step.
struct ExplainedOperation {
  std::string layers;  // "0-31"; empty: before or after the layers
  std::string name;    // "linear q, k", "attention"
  int calls = 0;       // of a step
  std::string shape, formats;
  KernelChoice choice;  // times are those of one call

  // The roof's share of the expected time; 0: not known.
  double share() const {
    return choice.expected_seconds > 0 ? choice.roof_seconds / choice.expected_seconds : 0;
  }
};

// The operations of a step from embedding to sampling, in their order, as the backend that the
// model was loaded with would run them; nothing is run. InputError where the context is longer than
// the model's positions.
std::vector<ExplainedOperation> explain(Model& model, ExplainingBackend& backend,
                                        const StepShape& step);

// "0-3, 7": of increasing numbers.
std::string ranges(const std::vector<int64_t>& numbers);

}  // namespace emberq
