#include "quant/recipe/group_size.h"

#include <algorithm>

#include "base/check.h"

namespace emberq {
namespace {

int fitted_size(int group_size, int64_t inputs) {
  if (group_size == 0) return 0;
  const int fitting = fitting_group(group_size, inputs);
  EMBERQ_CHECK(fitting > 0, "{} inputs in groups of {}", inputs, group_size);
  return fitting;
}

// The groups that the recipe asks for in a linear's weights and inputs; 0: none.
std::vector<int> asked_for(const Recipe& recipe, Projection module) {
  std::vector<int> sizes;
  if (const auto& weight = recipe.weights[size_t(module)]) sizes.push_back(weight->group_size);
  if (recipe.bit_allocation && recipe.weights[0]) sizes.push_back(recipe.weights[0]->group_size);
  sizes.push_back(recipe.activations[size_t(input_of(module))].group_size);
  if (recipe.sensitive_activations)
    sizes.push_back(recipe.sensitive_activations->scheme.group_size);
  return sizes;
}

}  // namespace

WeightScheme fitted(WeightScheme scheme, int64_t inputs) {
  scheme.group_size = fitted_size(scheme.group_size, inputs);
  return scheme;
}

ActivationScheme fitted(ActivationScheme scheme, int64_t inputs) {
  scheme.group_size = fitted_size(scheme.group_size, inputs);
  return scheme;
}

void check_groups(const Checkpoint& checkpoint, const Recipe& recipe) {
  for (const Projection module : kProjections) {
    const int64_t k = inputs(checkpoint.config(), module);
    for (const int size : asked_for(recipe, module))
      EMBERQ_REQUIRE(
          size == 0 || fitting_group(size, k) > 0,
          "{}: {} has {} inputs, which groups of {} do not divide; a recipe with one "
          "scale per row and per token, as int8-channel with int8-token, takes any width",
          checkpoint.folder().string(), linear_name(0, module), k,
          size == kGroupSizes.front() ? std::to_string(size)
                                      : fmt::format("{} down to {}", size, kGroupSizes.front()));
  }
}

std::string other_groups(const Recipe& recipe, const ModelConfig& config) {
  struct Others {
    int asked, used;
    int64_t inputs;
    std::string linears;
  };
  std::vector<Others> all;
  for (const Projection module : kProjections) {
    const int64_t k = inputs(config, module);
    std::vector<int> sizes = asked_for(recipe, module);
    std::ranges::sort(sizes);
    const auto [rest, end] = std::ranges::unique(sizes);
    sizes.erase(rest, end);
    for (const int size : sizes) {
      const int used = fitted_size(size, k);
      if (used == size) continue;
      auto same = std::ranges::find_if(
          all, [&](const Others& o) { return o.asked == size && o.inputs == k; });
      if (same == all.end()) same = all.insert(same, {size, used, k, ""});
      same->linears += fmt::format("{}{}", same->linears.empty() ? "" : ", ", short_name(module));
    }
  }
  std::string line;
  for (const Others& o : all)
    line += fmt::format("{}groups of {} instead of {}: {} ({} inputs)", line.empty() ? "" : "; ",
                        o.used, o.asked, o.linears, o.inputs);
  return line;
}

}  // namespace emberq
