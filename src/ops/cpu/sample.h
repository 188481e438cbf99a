#pragma once

#include <span>
#include <vector>

#include "ops/sample.h"

namespace emberq::cpu {

// An id that may be chosen, and its probability.
struct Candidate {
  int32_t id = 0;
  double p = 0;
};
// What temperature, top_k, top_p and min_p leave of the logits, the most likely first; of equals
// the smaller id. At least one logit must be finite, none NaN or +infinity.
std::vector<Candidate> candidates(const SampleRow& row, std::span<const float> logits);

}  // namespace emberq::cpu
