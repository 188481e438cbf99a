#pragma once

#include <span>

namespace emberq {

// log(softmax(logits)[id]), in double, with the maximum taken out first.
double log_probability(std::span<const float> logits, int id);
// The id of the largest logit, the first of equals.
int top_id(std::span<const float> logits);

}  // namespace emberq
