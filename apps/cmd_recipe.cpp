#include <fmt/format.h>

#include "apps/app.h"
#include "base/json.h"
#include "base/print.h"
#include "base/table.h"
#include "quant/recipe/recipe.h"

namespace emberq {
namespace {

struct RecipeArguments {
  std::string recipe;
  bool json = false;
};

void run(const RecipeArguments& options) {
  if (!options.recipe.empty()) {
    const OrderedJson json = to_json(find_recipe(options.recipe));
    return options.json ? print_json(json) : print_out("{}\n", json.dump(2));
  }
  OrderedJson json;
  std::vector<std::vector<std::string>> rows = {{"recipe", "what it is"}};
  for (const BuiltinRecipe& recipe : builtin_recipes()) {
    json[std::string(recipe.name)] = recipe.about;
    rows.push_back({std::string(recipe.name), std::string(recipe.about)});
  }
  if (options.json) return print_json(json);
  print_out("{}", format_table(rows));
}

}  // namespace

void add_recipe(Command& app) {
  Command recipe = app.subcommand(
      "recipe", "Print a recipe with all that it sets, to change and give to quantize --recipe");
  const auto options = std::make_shared<RecipeArguments>();
  recipe.option("RECIPE", options->recipe,
                "A built-in recipe's name or a .json file; absent: the list of names");
  recipe.flag("--json", options->json, "Print one JSON object: the recipe, or name: about");
  recipe.action([options] { run(*options); });
}

}  // namespace emberq
