#pragma once

#include <span>

#include "model/model.h"

namespace emberq {

struct PerplexityOptions {
  int64_t window = 2048;    // tokens
  int64_t max_windows = 0;  // 0: all
};

struct Perplexity {
  double ppl = 0;  // exp(nll_sum / predicted_tokens)
  double nll_sum = 0;
  int64_t windows = 0, seq_len = 0, predicted_tokens = 0;
  double seconds = 0;
};

// GPTQ's protocol: the ids cut into windows that do not overlap, the tail dropped, each window run
// alone with no BOS; its first token is given, the others are predicted. InputError where there is
// no whole window, or one is longer than the model's positions; of perplexity() also for an id
// outside the vocabulary.
int64_t count_windows(const ModelConfig& config, std::span<const int> ids,
                      const PerplexityOptions& options);
Perplexity perplexity(Model& model, std::span<const int> ids, const PerplexityOptions& options);

}  // namespace emberq
