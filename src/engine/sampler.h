#pragma once

#include <cstdint>
#include <random>
#include <vector>

#include "engine/logit_rules.h"
#include "ops/sample_memory.h"

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

// What the operation Sample chooses one text's tokens by.
class Sampler {
 public:
  Sampler(const SamplingOptions& options, uint64_t seed) : options_(options), random_(seed) {}

  // For the token that follows those so far, which begin with those of the call before. Valid until
  // the next call.
  SampleRequest next(const TokensSoFar& so_far, int64_t vocab);

 private:
  SamplingOptions options_;
  std::mt19937_64 random_;
  size_t looked_at_ = 0;       // of the tokens so far, for seen_
  std::vector<bool> is_seen_;  // of the vocabulary
  std::vector<int32_t> seen_, forbidden_;
};

// The id that Sample has written. InputError where the rules leave none; Error where a logit is NaN
// or +infinity.
int sampled(int32_t written, const TokensSoFar& so_far);

}  // namespace emberq
