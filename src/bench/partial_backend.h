#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "ops/cost.h"
#include "ops/wrapped_backend.h"

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
class PartialBackend : public WrappedBackend {
 public:
  explicit PartialBackend(Backend& of) : WrappedBackend(of) {}

  // Empty: nothing is left out.
  void leave_out(std::string operation) { left_out_ = std::move(operation); }
  // The calls since the last start_counting() that ran, in the order of their first; what is only
  // recorded does not count.
  void start_counting() { calls_.clear(); }
  const std::vector<OperationCalls>& calls() const { return calls_; }

  std::unique_ptr<Recording> record(const std::function<void()>& calls) override;

  using WrappedBackend::run;
  void run(const Embed& op) override { forward(op); }
  void run(const RmsNorm& op) override { forward(op); }
  void run(const PerTokenQuantize& op) override { forward(op); }
  void run(const SiluAndMul& op) override { forward(op); }
  void run(const Linear& op) override { forward(op); }
  void run_together(std::span<const Linear> linears) override;
  void run(const RopeAppendKv& op) override { forward(op); }
  void run(const Attention& op) override { forward(op); }
  void run(const Argmax& op) override { forward(op); }
  void run(const Sample& op) override { forward(op); }

 private:
  void count(const std::string& operation, double bytes);
  template <class Op>
  void forward(const Op& op) {
    if (keeps(op)) whole().run(op);
  }
  // Counts the operation.
  template <class Op>
  bool keeps(const Op& op) {
    const std::string operation = operation_of(op);
    count(operation, cost(op).bytes);
    return operation != left_out_;
  }
  template <class Op>
  static std::string operation_of(const Op&) {
    return std::string(operation_name<Op>());
  }
  static std::string operation_of(const Linear& op);  // with its shape

  std::string left_out_;
  bool recording_ = false;
  std::vector<OperationCalls> calls_;
};

}  // namespace emberq::bench
