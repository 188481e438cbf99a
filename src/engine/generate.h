#pragma once

#include <functional>
#include <span>
#include <vector>

#include "engine/sampler.h"
#include "model/model.h"

namespace emberq {

enum class FinishReason {
  kStop,
  kLength
};  // an end token, or no more tokens asked for or possible

struct GenerateOptions {
  SamplingOptions sampling;
  uint64_t seed = 0;
  int64_t max_new_tokens = 128;
};

struct Generation {
  std::vector<int> ids;  // without the end token
  FinishReason finish_reason = FinishReason::kLength;
  double prompt_seconds = 0,
         decode_seconds = 0;  // of the prompt, and of the tokens after the first
};

// Continues the prompt; on_token sees each new token as it comes. InputError where the prompt is
// empty, fills the model's positions or has an id outside its vocabulary, and where the rules of
// sampling leave no token.
Generation generate(Model& model, std::span<const int> prompt, const GenerateOptions& options,
                    const std::function<void(int)>& on_token = {});

}  // namespace emberq
