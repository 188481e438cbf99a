#include "quant/plan.h"

#include <algorithm>
#include <numeric>

#include "base/check.h"
#include "quant/recipe/group_size.h"

namespace emberq {
namespace {

constexpr int64_t kCacheTokens = 2048;  // that a cache is sized for beside the weights

SensitivityOptions analysis_options(const ModelConfig& config, std::span<const int> ids) {
  SensitivityOptions options;
  options.length = std::min({options.length, config.max_positions, int64_t(ids.size())});
  options.windows = std::min(options.windows, int64_t(ids.size()) / options.length);
  return options;
}

// The units in groups that divide the inputs of all their linears.
std::vector<SensitivityUnit> with_fitting_groups(std::vector<SensitivityUnit> units,
                                                 const ModelConfig& config) {
  for (SensitivityUnit& unit : units) {
    int64_t divisor = 0;
    for (const Projection module : unit.modules)
      divisor = std::gcd(divisor, inputs(config, module));
    if (unit.linear.weight) unit.linear.weight = fitted(*unit.linear.weight, divisor);
    unit.linear.input = fitted(unit.linear.input, divisor);
  }
  return units;
}

// A site is as sensitive as the most sensitive of the linears that read it.
Sensitivity site_sensitivity(std::span<const Sensitivity> by_module, LinearInput site) {
  Sensitivity result;
  for (const Sensitivity& s : by_module) {
    const Projection module = s.unit.modules.front();
    if (input_of(module) != site) continue;
    Sensitivity joined = s.kl > result.kl ? s : result;
    joined.unit.name = result.unit.name + (result.unit.name.empty() ? "" : "+") + s.unit.name;
    joined.unit.modules = {linears_reading(site).begin(), linears_reading(site).end()};
    joined.mac_share = result.mac_share + s.mac_share;
    result = joined;
  }
  return result;
}

void choose_activations(const Recipe& recipe, const Checkpoint& checkpoint, Backend& backend,
                        std::span<const int> ids, PlanResult& report) {
  const ModelConfig& config = checkpoint.config();
  const PartScheme scheme{.input = recipe.activations[0]};
  std::vector<SensitivityUnit> units = units_by_module(single_modules(), scheme);
  const size_t types = units.size();
  for (SensitivityUnit& unit : units_by_layer(config, single_modules(), scheme))
    units.push_back(std::move(unit));
  report.sensitivities =
      measure_sensitivity(checkpoint, backend, ids, analysis_options(config, ids),
                          with_fitting_groups(std::move(units), config))
          .units;
  report.text = sensitivity_table(report.sensitivities) + "\n";

  std::vector<Sensitivity> sites;
  for (const LinearInput site : kLinearInputs)
    sites.push_back(site_sensitivity(std::span(report.sensitivities).first(types), site));
  for (const SensitiveChoice& choice :
       choose_sensitive(sites, recipe.sensitive_activations->share)) {
    const SensitivityUnit& unit = sites[choice.unit].unit;
    const ActivationScheme better =
        fitted(recipe.sensitive_activations->scheme, inputs(config, kLinearInputs[choice.unit]));
    const std::string chosen = name(choice.chosen ? better : unit.linear.input);
    report.choices.push_back({unit.name + " inputs", chosen, choice.why});
    report.text += fmt::format("{} inputs: {}, {}\n", unit.name, chosen, choice.why);
    if (!choice.chosen) continue;
    for (auto& activations : report.plan.activations) activations[choice.unit] = better;
  }
}

// One linear in one of its widths, or the cache.
std::vector<SensitivityUnit> width_units(const Recipe& recipe, const ModelConfig& config) {
  const int group = recipe.weights[0]->group_size;
  const WeightScheme six{.bits = 6, .group_size = group, .code = WeightCode::kFloat};
  const WeightScheme eight{.bits = 8, .group_size = group, .code = WeightCode::kFloat};
  std::vector<SensitivityUnit> units;
  for (const WeightScheme& scheme : {*recipe.weights[0], six, eight})
    for (SensitivityUnit& unit : units_by_layer(config, single_modules(), {.weight = scheme}))
      units.push_back(std::move(unit));
  if (!recipe.bit_allocation->max_ppl_increase) return units;
  for (const KvScheme kv : {recipe.kv, KvScheme::kInt8Head}) {
    AttentionScheme attention = attention_scheme(recipe);
    attention.kv = kv;
    units.push_back(cache_unit(std::move(attention)));
  }
  return units;
}

void choose_widths(const Recipe& recipe, const Checkpoint& checkpoint, Backend& backend,
                   std::span<const int> ids, PlanResult& report) {
  const ModelConfig& config = checkpoint.config();
  EMBERQ_REQUIRE(recipe.weights[0] && recipe.weights[0]->bits == 4,
                 "a search for bits starts from weights of 4 bits, the recipe {} has none",
                 recipe.name);
  std::vector<SensitivityUnit> units = width_units(recipe, config);
  const size_t searched = units.size();
  units.push_back({.name = "all inputs",
                   .modules = {kProjections.begin(), kProjections.end()},
                   .linear = {.input = recipe.activations[0]}});
  report.sensitivities =
      measure_sensitivity(checkpoint, backend, ids, analysis_options(config, ids),
                          with_fitting_groups(std::move(units), config))
          .units;
  report.text = sensitivity_table(report.sensitivities) + "\n";

  const auto widths = std::span(report.sensitivities).first(searched);
  const std::vector<AllocationUnit> parts = allocation_units(config, widths, kCacheTokens);
  const Allocation allocation =
      recipe.bit_allocation->max_ppl_increase
          ? allocate_within_perplexity(parts, *recipe.bit_allocation->max_ppl_increase,
                                       report.sensitivities.back().kl)
          : allocate_within_bits(parts, recipe.bit_allocation->target_bits);
  report.text += allocation_table(parts, allocation);
  report.text +=
      fmt::format("\n{:.3f} bits per weight; the KL of parts measured alone adds up to {:.4f}\n",
                  allocation.bits, allocation.kl);

  for (size_t i = 0; i < parts.size(); ++i)
    report.choices.push_back({parts[i].name, parts[i].options[allocation.choices[i].option].scheme,
                              allocation.choices[i].why});

  size_t part = 0;
  for (auto& weights : report.plan.weights)
    for (auto& weight : weights) {
      weight = weight_scheme_from_name(parts[part].options[allocation.choices[part].option].scheme);
      EMBERQ_CHECK(weight, "an allocation of {}", parts[part].name);
      ++part;
    }
  if (part < parts.size())
    report.kv = allocation.choices[part].option == 0 ? recipe.kv : KvScheme::kInt8Head;
}

}  // namespace

PlanResult make_plan(const Recipe& recipe, const Checkpoint& checkpoint, Backend& backend,
                     std::span<const int> ids) {
  const ModelConfig& config = checkpoint.config();
  ModuleSchemes weights = recipe.weights;
  for (const Projection module : kProjections)
    if (auto& weight = weights[size_t(module)]) weight = fitted(*weight, inputs(config, module));
  auto activations = recipe.activations;
  for (const LinearInput site : kLinearInputs)
    activations[size_t(site)] = fitted(activations[size_t(site)], inputs(config, site));
  const auto layers = size_t(config.num_layers);
  PlanResult report{.plan = {std::vector(layers, weights), std::vector(layers, activations)},
                    .kv = recipe.kv};
  if (recipe.sensitive_activations) choose_activations(recipe, checkpoint, backend, ids, report);
  if (recipe.bit_allocation) choose_widths(recipe, checkpoint, backend, ids, report);
  return report;
}

}  // namespace emberq
