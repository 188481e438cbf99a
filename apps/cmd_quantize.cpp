#include <fmt/format.h>

#include "apps/app.h"
#include "quant/pipeline.h"

namespace emberq {
namespace {

struct Options {
  ModelOptions model;
  std::string recipe = "emberq4", weights, output;
  std::vector<std::string> calibration;
  std::optional<int64_t> windows;
  int64_t length = 2048;
  bool resume = false, json = false;
};

void run(const Options& options) {
  QuantizeOptions quantize_options{.model = options.model.model,
                                   .output = options.output,
                                   .recipe = find_recipe(options.recipe),
                                   .calibration_windows = options.windows,
                                   .calibration_length = options.length,
                                   .resume = options.resume};
  if (options.weights == "int4")
    quantize_options.recipe = with_integer_weights(quantize_options.recipe, 4);
  quantize_options.calibration.assign(options.calibration.begin(), options.calibration.end());
  const auto backend = backend_of(options.model);
  const QuantizeReport report = quantize(quantize_options, *backend);
  if (options.json)
    return print_json({{"recipe", quantize_options.recipe.name},
                       {"output", options.output},
                       {"bits_per_weight", report.bits_per_weight},
                       {"file_bytes", report.file_bytes},
                       {"calibration_tokens", report.calibration_tokens},
                       {"per_tensor_scaled", report.per_tensor_scaled},
                       {"resumed_layers", report.resumed},
                       {"peak_memory_bytes", report.peak_memory},
                       {"seconds", report.seconds}});
  fmt::print(
      "{}: {:.3f} bits per weight in the blocks' linears, weights of {:.1f} MB, in {:.1f} s\n",
      options.output, report.bits_per_weight, double(report.file_bytes) / 1e6, report.seconds);
}

std::string recipe_help() {
  std::string text = "A .json file (docs/quantization.md) or one of";
  for (const BuiltinRecipe& recipe : builtin_recipes())
    text += fmt::format("\n  {:<18}{}", recipe.name, recipe.about);
  return text;
}

}  // namespace

void add_quantize(CLI::App& app) {
  CLI::App* command = app.add_subcommand("quantize", "Quantize a model into a new folder");
  const auto options = std::make_shared<Options>();
  add_model(*command, options->model);
  command->add_option("--recipe", options->recipe, recipe_help())->capture_default_str();
  command
      ->add_option("--weights", options->weights,
                   "int4: all weights in the integers that vLLM loads, instead of the recipe's")
      ->check(CLI::IsMember({"int4"}));
  command
      ->add_option("--calib", options->calibration,
                   "Calibration text, a UTF-8 file; several share the windows")
      ->take_all()
      ->allow_extra_args(false);
  command->add_option("--calib-windows", options->windows,
                      "Windows taken from their starts, instead of the recipe's number");
  command->add_option("--calib-length", options->length, "Tokens of a window")
      ->capture_default_str();
  command
      ->add_option("-o,--output", options->output,
                   "The new folder; it appears whole or not at all, and must not exist")
      ->required();
  command->add_flag("--resume", options->resume,
                    "Go on with the layers that an interrupted run has left in OUTPUT.partial");
  command->add_flag("--json", options->json,
                    "Print one JSON object: recipe, output, bits_per_weight, file_bytes, "
                    "calibration_tokens, per_tensor_scaled, resumed_layers, peak_memory_bytes, "
                    "seconds");
  command->callback([options] { run(*options); });
}

}  // namespace emberq
