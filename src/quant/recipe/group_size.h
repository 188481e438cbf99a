#pragma once

#include <string>

#include "checkpoint/checkpoint.h"
#include "quant/recipe/recipe.h"

// What a linear gets whose inputs a recipe's groups do not divide: smaller ones
// (docs/recipes.md, "Widths that 128 does not divide").
namespace emberq {

// The scheme in the group that fits linears of so many inputs (format/scheme.h, fitting_group());
// as it is where it has no groups. There must be one that fits.
WeightScheme fitted(WeightScheme scheme, int64_t inputs);
ActivationScheme fitted(ActivationScheme scheme, int64_t inputs);

// InputError names the first linear whose inputs none of the recipe's groups fits.
void check_groups(const Checkpoint& checkpoint, const Recipe& recipe);

// One line that says which linears get other groups than the recipe's, "groups of 64 instead of
// 128: q_proj, k_proj (576 inputs)"; empty where none does.
std::string other_groups(const Recipe& recipe, const ModelConfig& config);

}  // namespace emberq
