#pragma once

#include <span>
#include <string>
#include <vector>

#include "quant/analysis/allocation.h"
#include "quant/layer_quantizer.h"
#include "quant/recipe/recipe.h"

namespace emberq {

// What becomes of each linear, and why.
struct PlanResult {
  Plan plan;
  KvScheme kv = KvScheme::kFp;
  std::vector<Sensitivity> sensitivities;  // where the recipe asks for an analysis
  std::vector<PlanChoice> choices;         // where the recipe asks for them
  std::string text;                        // its ranked table and the choices, for people
};

// The recipe's schemes for all layers, in groups that divide each linear's inputs; where it asks
// for more, what sensitivity on `ids` says (quant/analysis/sensitivity.h): inputs of the most
// sensitive module types in a better scheme, or a width for each linear, and with a limit on
// perplexity for the cache too.
PlanResult make_plan(const Recipe& recipe, const Checkpoint& checkpoint, Backend& backend,
                     std::span<const int> ids);

}  // namespace emberq
