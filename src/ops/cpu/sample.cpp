#include "ops/cpu/sample.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <numeric>

#include "base/parallel.h"
#include "ops/cpu/cpu_backend.h"

namespace emberq::cpu {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

// Ids of the top_k most likely and of those as likely as the last of them, the most likely first,
// of equals the smaller id; without those that have no probability.
std::vector<int32_t> most_likely(std::span<const float> logits, int top_k) {
  float least = -kInfinity;
  if (top_k > 0 && size_t(top_k) < logits.size()) {
    std::vector<float> sorted(logits.begin(), logits.end());
    const auto last = sorted.begin() + top_k - 1;
    std::nth_element(sorted.begin(), last, sorted.end(), std::greater());
    least = *last;
  }
  std::vector<int32_t> order(logits.size());
  std::iota(order.begin(), order.end(), 0);
  std::erase_if(order, [&](int32_t id) {
    const float logit = logits[size_t(id)];
    return logit < least || std::isinf(logit);
  });
  std::ranges::sort(order, [&](int32_t a, int32_t b) {
    const float x = logits[size_t(a)], y = logits[size_t(b)];
    return x != y ? x > y : a < b;
  });
  return order;
}

int32_t choose(const SampleRow& row, const int32_t* listed, std::span<float> logits) {
  if (std::ranges::any_of(logits, [](float x) { return std::isnan(x) || x == kInfinity; }))
    return kLogitsNotFinite;
  if (const double penalty = row.repetition_penalty; penalty != 1)
    for (int32_t i = row.seen.begin; i < row.seen.end; ++i) {
      float& logit = logits[size_t(listed[i])];
      logit = float(logit < 0 ? double(logit) * penalty : double(logit) / penalty);
    }
  for (int32_t i = row.forbidden.begin; i < row.forbidden.end; ++i)
    logits[size_t(listed[i])] = -kInfinity;
  const auto largest = std::ranges::max_element(logits);
  if (!std::isfinite(*largest)) return kNothingLeft;
  if (row.greedy) return int32_t(largest - logits.begin());

  const std::vector<Candidate> left = candidates(row, logits);
  double drawn = row.drawn;
  for (const Candidate& candidate : left)
    if ((drawn -= candidate.p) < 0) return candidate.id;
  return left.back().id;
}

}  // namespace

std::vector<Candidate> candidates(const SampleRow& row, std::span<const float> logits) {
  std::vector<Candidate> result;
  double total = 0;
  for (const int32_t id : most_likely(logits, row.top_k)) {
    const double largest = logits[size_t(result.empty() ? id : result[0].id)];
    result.push_back({id, std::exp((double(logits[size_t(id)]) - largest) / row.temperature)});
    total += result.back().p;
  }
  double reached = 0;
  size_t kept = 0;
  while (kept < result.size() && reached < row.top_p * total) reached += result[kept++].p;
  while (result[kept - 1].p < row.min_p) reached -= result[--kept].p;  // the first is 1
  result.resize(kept);
  for (Candidate& candidate : result) candidate.p /= reached;
  return result;
}

void sample(const Sample& op) {
  const Matrix<float> logits = op.logits.f32();
  parallel_for(0, logits.rows, [&](int64_t r) {
    op.ids[r] = choose(op.rows[r], op.listed, {logits.row(r), size_t(logits.cols)});
  });
}

}  // namespace emberq::cpu
