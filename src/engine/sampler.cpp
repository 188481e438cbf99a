#include "engine/sampler.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/check.h"

namespace emberq {
namespace {

// Ids of the top_k most likely tokens and of those as likely as the last of them, the most likely
// first, of equals the smaller id; without what was ruled out.
std::vector<int> most_likely(std::span<const float> logits, int top_k) {
  float least = -std::numeric_limits<float>::infinity();
  if (top_k > 0 && size_t(top_k) < logits.size()) {
    std::vector<float> sorted(logits.begin(), logits.end());
    const auto last = sorted.begin() + top_k - 1;
    std::nth_element(sorted.begin(), last, sorted.end(), std::greater());
    least = *last;
  }
  std::vector<int> order(logits.size());
  std::iota(order.begin(), order.end(), 0);
  std::erase_if(order, [&](int id) {
    const float logit = logits[size_t(id)];
    return logit < least || std::isinf(logit);
  });
  std::ranges::sort(order, [&](int a, int b) {
    const float x = logits[size_t(a)], y = logits[size_t(b)];
    return x != y ? x > y : a < b;
  });
  return order;
}

}  // namespace

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

std::vector<Candidate> candidates(const SamplingOptions& options, std::span<const float> logits) {
  std::vector<Candidate> result;
  double total = 0;
  for (const int id : most_likely(logits, options.top_k)) {
    const double largest = logits[size_t(result.empty() ? id : result[0].id)];
    result.push_back({id, std::exp((double(logits[size_t(id)]) - largest) / options.temperature)});
    total += result.back().p;
  }
  double reached = 0;
  size_t kept = 0;
  while (kept < result.size() && reached < options.top_p * total) reached += result[kept++].p;
  while (result[kept - 1].p < options.min_p) reached -= result[--kept].p;  // the first is 1
  result.resize(kept);
  for (Candidate& candidate : result) candidate.p /= reached;
  return result;
}

int Sampler::sample(std::span<const float> logits, const TokensSoFar& so_far) {
  EMBERQ_CHECK(std::ranges::none_of(logits, [](float x) { return std::isnan(x) || x == INFINITY; }),
               "the model's logits are not finite");
  logits_.assign(logits.begin(), logits.end());
  apply(options_.rules, so_far, options_.eos_ids, logits_);
  const auto largest = std::ranges::max_element(logits_);
  EMBERQ_REQUIRE(std::isfinite(*largest),
                 "no token may follow the {} so far: what generation_config.json rules out is the "
                 "whole vocabulary",
                 so_far.ids.size());
  if (options_.greedy) return int(largest - logits_.begin());

  const std::vector<Candidate> left = candidates(options_, logits_);
  double drawn = double(random_() >> 11) * 0x1p-53;  // 53 bits, whatever the standard library
  for (const Candidate& candidate : left)
    if ((drawn -= candidate.p) < 0) return candidate.id;
  return left.back().id;
}

}  // namespace emberq
