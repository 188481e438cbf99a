#include "engine/sampler.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/check.h"
#include "base/json.h"

namespace emberq {

void check(const SamplingOptions& options) {
  EMBERQ_REQUIRE(options.greedy || options.temperature > 0,
                 "the temperature must be positive, got {}", options.temperature);
  EMBERQ_REQUIRE(options.top_k >= 0, "top_k must not be negative, got {}", options.top_k);
  EMBERQ_REQUIRE(options.top_p > 0 && options.top_p <= 1, "top_p must be in (0, 1], got {}",
                 options.top_p);
}

SamplingOptions read_sampling_options(const fs::path& folder, const std::vector<int>& eos_ids) {
  SamplingOptions options{.eos_ids = eos_ids};
  const fs::path path = folder / "generation_config.json";
  if (!file_exists(path)) return options;
  const Json json = read_json(path);
  const JsonObject config(json, path.string());
  options.greedy = !config.get_or("do_sample", false);
  options.temperature = config.get_or("temperature", 1.0);
  options.top_k = config.get_or("top_k", 0);
  options.top_p = config.get_or("top_p", 1.0);
  if (options.temperature == 0) options.greedy = true;
  if (config.has("eos_token_id")) {
    options.eos_ids.clear();
    const Json& eos = config.at("eos_token_id");
    for (const Json& id : eos.is_array() ? eos : Json::array({eos})) {
      if (!id.is_number_integer()) config.reject("eos_token_id", "must be an id or a list of ids");
      options.eos_ids.push_back(id.get<int>());
    }
  }
  check(options);
  return options;
}

int Sampler::sample(std::span<const float> logits) {
  const auto largest = std::max_element(logits.begin(), logits.end());
  if (options_.greedy) return int(largest - logits.begin());

  std::vector<int> order(logits.size());
  std::iota(order.begin(), order.end(), 0);
  const size_t kept =
      options_.top_k > 0 ? std::min(logits.size(), size_t(options_.top_k)) : logits.size();
  std::partial_sort(
      order.begin(), order.begin() + std::ptrdiff_t(kept), order.end(), [&](int a, int b) {
        return logits[size_t(a)] != logits[size_t(b)] ? logits[size_t(a)] > logits[size_t(b)]
                                                      : a < b;
      });
  order.resize(kept);

  std::vector<double> weights;
  double total = 0;
  for (const int id : order) {
    weights.push_back(
        std::exp((double(logits[size_t(id)]) - double(*largest)) / options_.temperature));
    total += weights.back();
  }
  double reached = 0;
  size_t nucleus = 0;
  while (nucleus < weights.size() && reached < options_.top_p * total)
    reached += weights[nucleus++];

  // 53 random bits, which do not depend on the standard library.
  double left = double(random_() >> 11) * 0x1p-53 * reached;
  for (size_t i = 0; i < nucleus; ++i)
    if ((left -= weights[i]) < 0) return order[i];
  return order[nucleus - 1];
}

}  // namespace emberq
