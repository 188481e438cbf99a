#include "engine/sampler.h"

#include <cmath>

#include "base/check.h"

namespace emberq {

void check(const SamplingOptions& options) {
  const double penalty = options.rules.repetition_penalty;
  EMBERQ_REQUIRE(penalty > 0 && std::isfinite(penalty),
                 "the repetition penalty must be positive, got {}", penalty);
  if (options.greedy) return;
  EMBERQ_REQUIRE(options.temperature > 0 && std::isfinite(options.temperature),
                 "the temperature must be positive, got {}", options.temperature);
  EMBERQ_REQUIRE(options.top_k >= 0, "top_k must not be negative, got {}", options.top_k);
  EMBERQ_REQUIRE(options.top_p > 0 && options.top_p <= 1, "top_p must be in (0, 1], got {}",
                 options.top_p);
  EMBERQ_REQUIRE(options.min_p >= 0 && options.min_p <= 1, "min_p must be in [0, 1], got {}",
                 options.min_p);
}

SampleRequest Sampler::next(const TokensSoFar& so_far, int64_t vocab) {
  const double penalty = options_.rules.repetition_penalty;
  if (penalty != 1) {
    is_seen_.resize(size_t(vocab));
    for (; looked_at_ < so_far.ids.size(); ++looked_at_) {
      const int id = so_far.ids[looked_at_];
      EMBERQ_CHECK(id >= 0 && id < vocab, "token id {} of {} logits", id, vocab);
      if (!is_seen_[size_t(id)]) seen_.push_back(id);
      is_seen_[size_t(id)] = true;
    }
  }
  forbidden_ = forbidden(options_.rules, so_far, options_.eos_ids, vocab);
  SampleRequest request{.row = {.repetition_penalty = penalty, .greedy = options_.greedy},
                        .seen = seen_,
                        .forbidden = forbidden_};
  if (!options_.greedy) {
    request.row.temperature = options_.temperature;
    request.row.top_p = options_.top_p;
    request.row.min_p = options_.min_p;
    request.row.top_k = options_.top_k;
    // 53 bits, whatever the standard library.
    request.row.drawn = double(random_() >> 11) * 0x1p-53;
  }
  return request;
}

int sampled(int32_t written, const TokensSoFar& so_far) {
  EMBERQ_CHECK(written != kLogitsNotFinite, "the model's logits are not finite");
  EMBERQ_REQUIRE(written != kNothingLeft,
                 "no token may follow the {} so far: what generation_config.json rules out is the "
                 "whole vocabulary",
                 so_far.ids.size());
  return written;
}

}  // namespace emberq
