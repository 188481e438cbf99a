#pragma once

#include <memory>
#include <span>
#include <vector>

#include "engine/sampler.h"

namespace emberq::test {

// A Sampler, and the operation on the CPU.
class CpuSampler {
 public:
  CpuSampler(const SamplingOptions& options, uint64_t seed) : sampler_(options, seed) {}

  // What the operation writes for the token after these.
  int32_t written(const std::vector<float>& logits, const TokensSoFar& so_far = {}) {
    logits_ = logits;
    const auto vocab = int64_t(logits_.size());
    const SampleRequest request = sampler_.next(so_far, vocab);
    const Activations row{DType::kF32, logits_.data(), nullptr, 1, vocab};
    backend_->run(memory_.set(row, std::span(&request, 1)));
    return memory_.ids()[0];
  }
  int sample(const std::vector<float>& logits, const TokensSoFar& so_far = {}) {
    return sampled(written(logits, so_far), so_far);
  }
  // The last logits, as the rules left them.
  const std::vector<float>& logits() const { return logits_; }

 private:
  const std::unique_ptr<Backend> backend_ = make_cpu_backend();
  SampleMemory memory_{*backend_};
  Sampler sampler_;
  std::vector<float> logits_;
};

}  // namespace emberq::test
