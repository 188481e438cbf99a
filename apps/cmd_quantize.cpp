#include <fmt/format.h>

#include <algorithm>

#include "apps/app.h"
#include "apps/quantize_report.h"
#include "base/check.h"
#include "base/file_lock.h"
#include "base/json.h"
#include "base/print.h"
#include "quant/pipeline.h"
#include "quant/run_notes.h"
#include "report/report.h"

namespace emberq {
namespace {

struct QuantizeArguments {
  ModelOptions model;
  std::string recipe, weights, lm_head, output;
  std::vector<std::string> calibration;
  std::optional<int64_t> windows;
  int64_t length = 2048;
  std::optional<double> a8_share, target_bits;
  std::string max_ppl_increase;
  std::string report;
  std::vector<std::string> against = {"fireq", "flexq"};
  bool resume = false, json = false;
};

OrderedJson sensitivities_json(const std::vector<Sensitivity>& sensitivities) {
  OrderedJson json = OrderedJson::array();
  for (const Sensitivity& s : sensitivities)
    json.push_back({{"unit", s.unit.name},
                    {"scheme", scheme_name(s.unit)},
                    {"kl", s.kl},
                    {"ppl", s.ppl},
                    {"mac_share", s.mac_share},
                    {"bits", s.bits}});
  return json;
}

// "1%" or "0.01"
double parse_share(const std::string& text) {
  size_t used = 0;
  double value = -1;
  try {
    value = std::stod(text, &used);
  } catch (const std::exception&) {
  }
  const bool percent = text.substr(used) == "%";
  EMBERQ_REQUIRE(value > 0 && (percent || used == text.size()),
                 "--max-ppl-increase must be a positive number such as 1% or 0.01, got {}", text);
  return percent ? value / 100 : value;
}

WeightScheme four_bit_scheme(const std::string& text) {
  const auto scheme = weight_scheme_from_name(text);
  EMBERQ_REQUIRE(scheme && scheme->bits == 4,
                 "--weights must be int4 or a scheme of four bits such as lut4-g128-e4m3, got {}",
                 text);
  return *scheme;
}

Recipe recipe_of(const QuantizeArguments& options) {
  const bool search = options.target_bits || !options.max_ppl_increase.empty();
  Recipe recipe =
      find_recipe(options.recipe.empty() ? (search ? "mixed" : "emberq4") : options.recipe);
  if (options.weights == "int4")
    recipe = with_integer_weights(recipe, 4);
  else if (!options.weights.empty())
    recipe = with_four_bit_weights(recipe, four_bit_scheme(options.weights));
  if (!options.lm_head.empty()) recipe = with_lm_head(recipe, options.lm_head);
  if (options.a8_share) {
    EMBERQ_REQUIRE(recipe.sensitive_activations,
                   "--a8-share is for recipes that choose inputs by sensitivity, which {} does not",
                   recipe.name);
    recipe.sensitive_activations->share = *options.a8_share;
  }
  if (search) {
    EMBERQ_REQUIRE(recipe.bit_allocation,
                   "--target-bits and --max-ppl-increase are for recipes that search for bits, "
                   "which {} does not",
                   recipe.name);
    if (options.target_bits) recipe.bit_allocation->target_bits = *options.target_bits;
    if (!options.max_ppl_increase.empty())
      recipe.bit_allocation->max_ppl_increase = parse_share(options.max_ppl_increase);
  }
  return recipe;
}

// vLLM 0.33: its scheme for INT4 weights with FP8 inputs refuses other groups, that for INT4
// weights alone takes these.
constexpr std::string_view kVllmGroups =
    "vLLM takes INT4 weights with FP8 inputs in groups of 128 alone and will refuse this folder; "
    "it takes groups of 64 and 32 from a recipe whose activations are none";

// Shows each line that says what will be other than the recipe, and adds it to `notes`.
std::function<void(const std::string&)> keep_notes(const QuantizeArguments& options,
                                                   const Recipe& recipe,
                                                   std::vector<std::string>& notes) {
  const bool for_vllm = options.weights == "int4" &&
                        std::ranges::find(recipe.activations, ActivationScheme::kFp8Token) !=
                            recipe.activations.end();
  return [&notes, for_vllm, quiet = options.json](const std::string& line) {
    const auto keep = [&](std::string_view note) {
      notes.emplace_back(note);
      if (!quiet) print_out("{}\n", note);
    };
    keep(line);
    if (for_vllm) keep(kVllmGroups);
    flush_out();
  };
}

// quantize(), which says where there is something to go on with.
QuantizeResult quantize_or_explain(const QuantizeOptions& options, Backend& backend) {
  try {
    return quantize(options, backend);
  } catch (const LockedError&) {
    throw;
  } catch (const InputError& error) {
    const fs::path partial = options.output.string() + ".partial";
    if (options.resume || !has_run_notes(partial)) throw;
    throw InputError(fmt::format("{}; {} holds what is finished, and --resume goes on with it",
                                 error.what(), partial.string()));
  }
}

// The recipes that the page compares with. A page that could not be made is refused here, before
// the model is quantized.
std::vector<QuantizeOptions> check_report(const QuantizeArguments& options,
                                          const QuantizeOptions& main) {
  if (options.report.empty()) return {};
  const fs::path folder = fs::path(options.report).parent_path();
  const bool in_output = folder.lexically_normal() == main.output.lexically_normal();
  if (!in_output) require_writable(options.report);
  std::vector<QuantizeOptions> others = other_methods(main, options.against);
  for (const QuantizeOptions& other : others) check_quantizable(other);
  return others;
}

void run(const QuantizeArguments& options) {
  const fs::path output = options.output;
  QuantizeOptions quantize_options{.model = options.model.model,
                                   .output = output.has_filename() ? output : output.parent_path(),
                                   .recipe = recipe_of(options),
                                   .calibration_windows = options.windows,
                                   .calibration_length = options.length,
                                   .resume = options.resume,
                                   .examine = !options.report.empty()};
  quantize_options.calibration.assign(options.calibration.begin(), options.calibration.end());
  const std::vector<QuantizeOptions> others = check_report(options, quantize_options);
  std::vector<std::string> notes;
  quantize_options.on_note = keep_notes(options, quantize_options.recipe, notes);
  const auto backend = make_cpu_backend();
  const QuantizeResult report = quantize_or_explain(quantize_options, *backend);
  if (!options.report.empty())
    write_file_atomically(options.report,
                          report_page(quantize_report(quantize_options, report, others, *backend)));
  if (options.json)
    return print_json({{"recipe", quantize_options.recipe.name},
                       {"output", options.output},
                       {"notes", notes},
                       {"bits_per_weight", report.bits_per_weight},
                       {"file_bytes", report.file_bytes},
                       {"calibration_tokens", report.calibration_tokens},
                       {"global_scaled", report.global_scaled},
                       {"sensitivities", sensitivities_json(report.sensitivities)},
                       {"resumed_layers", report.resumed},
                       {"peak_memory_bytes", report.peak_memory},
                       {"seconds", report.seconds}});
  print_out("{}", report.analysis);
  const auto& head = quantize_options.recipe.lm_head;
  print_out(
      "{}: {:.3f} bits per weight in the blocks' linears{}, weights of {:.1f} MB, in {:.1f} s\n",
      options.output, report.bits_per_weight, head ? ", the head in " + name(*head) : "",
      double(report.file_bytes) / 1e6, report.seconds);
}

std::string recipe_help() {
  std::string text = "A .json file (docs/recipes.md) or one of these; emberq4 where it is absent";
  for (const BuiltinRecipe& recipe : builtin_recipes())
    text += fmt::format("\n  {:<18}{}", recipe.name, recipe.about);
  return text;
}

}  // namespace

void add_quantize(Command& app) {
  Command command = app.subcommand("quantize", "Quantize a model into a new folder");
  const auto options = std::make_shared<QuantizeArguments>();
  add_model(command, options->model);
  command.option("--recipe", options->recipe, recipe_help());
  command.option("--weights", options->weights,
                 "int4: all weights in the integers that vLLM loads, instead of the recipe's; "
                 "or what its weights of four bits are, as lut4-g128-e4m3");
  add_lm_head(command, options->lm_head);
  command
      .option("--calib", options->calibration,
              "Calibration text, a UTF-8 file; several share the windows")
      .repeated();
  command.option("--num-samples", options->windows,
                 "Windows taken from their starts, instead of the recipe's number");
  command.option("--seq-len", options->length, "Tokens of a window").show_default();
  command
      .option("-o,--output", options->output,
              "The new folder; it appears whole or not at all, and must not exist")
      .required();
  command
      .option("--a8-share", options->a8_share,
              "flexq: the share of multiply-adds whose inputs get 8 bits (0.25)")
      .between(0.0, 1.0);
  Option target = command.option("--target-bits", options->target_bits,
                                 "mixed: bits per weight on average, scales included (4.5)");
  command
      .option("--max-ppl-increase", options->max_ppl_increase,
              "mixed: instead, the fewest bits whose predicted loss stays under this, as 1%")
      .excludes(target);
  Option report =
      command.option("--report", options->report,
                     "Write a page that shows what was done and what it cost: an .html file");
  command
      .option("--report-against", options->against,
              "Recipes that the page compares with, quantized for it and removed")
      .comma_separated()
      .show_default()
      .needs(report);
  command.flag("--resume", options->resume,
               "Go on with the layers that an interrupted run has left in OUTPUT.partial");
  command.flag(
      "--json", options->json,
      "Print one JSON object: recipe, output, notes, bits_per_weight, file_bytes, "
      "calibration_tokens, global_scaled, sensitivities, resumed_layers, peak_memory_bytes, "
      "seconds");
  command.action([options] { run(*options); });
}

}  // namespace emberq
