#pragma once

#include <cstdint>
#include <random>
#include <span>
#include <vector>

#include "engine/logit_rules.h"

namespace emberq {

// How the next token is chosen from the logits, in transformers' order: the rules; then, unless the
// most likely token is taken, temperature, the top_k most likely (with those that equal the last of
// them), the fewest whose probabilities reach top_p, those at least min_p times as likely as the
// most likely.
struct SamplingOptions {
  LogitRules rules;
  bool greedy = true;
  double temperature = 1;
  int top_k = 0;     // 0: all
  double top_p = 1;  // 1: all
  double min_p = 0;  // 0: all
  std::vector<int> eos_ids;
};

// InputError names the option that is out of range. What a greedy choice does not use is not
// looked at.
void check(const SamplingOptions& options);

// A token that sampling may choose, and its probability.
struct Candidate {
  int id = 0;
  double p = 0;
};
// What temperature, top_k, top_p and min_p leave of logits by the rules, the most likely first; of
// equals the smaller id. At least one logit must be finite, none NaN.
std::vector<Candidate> candidates(const SamplingOptions& options, std::span<const float> logits);

class Sampler {
 public:
  Sampler(const SamplingOptions& options, uint64_t seed) : options_(options), random_(seed) {}

  // The id that follows the tokens so far. InputError where the rules leave none; Error where a
  // logit is NaN.
  int sample(std::span<const float> logits, const TokensSoFar& so_far = {});

 private:
  SamplingOptions options_;
  std::mt19937_64 random_;
  std::vector<float> logits_;  // by the rules
};

}  // namespace emberq
