#pragma once

#include <cstdint>
#include <random>
#include <span>
#include <vector>

#include "base/file.h"

namespace emberq {

// How the next token is chosen from the logits, in transformers' order: temperature, then the top_k
// most likely, then the fewest whose probabilities reach top_p.
struct SamplingOptions {
  bool greedy = true;
  double temperature = 1;
  int top_k = 0;     // 0: all
  double top_p = 1;  // 1: all
  std::vector<int> eos_ids;
};

void check(const SamplingOptions& options);  // InputError names the option that is out of range

// generation_config.json of a model folder, where it has one; `eos_ids` are config.json's, for
// where it does not name its own.
SamplingOptions read_sampling_options(const fs::path& folder, const std::vector<int>& eos_ids);

class Sampler {
 public:
  Sampler(const SamplingOptions& options, uint64_t seed) : options_(options), random_(seed) {}

  int sample(std::span<const float> logits);

 private:
  SamplingOptions options_;
  std::mt19937_64 random_;
};

}  // namespace emberq
