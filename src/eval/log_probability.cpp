#include "eval/log_probability.h"

#include <algorithm>
#include <cmath>

#include "base/check.h"

namespace emberq {

double log_probability(std::span<const float> logits, int id) {
  EMBERQ_CHECK(id >= 0 && size_t(id) < logits.size(), "token id {} of {} logits", id,
               logits.size());
  const double top = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (const float x : logits) sum += std::exp(double(x) - top);
  return double(logits[size_t(id)]) - top - std::log(sum);
}

int top_id(std::span<const float> logits) {
  return int(std::max_element(logits.begin(), logits.end()) - logits.begin());
}

}  // namespace emberq
