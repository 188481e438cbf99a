#include <fmt/format.h>

#include "apps/app.h"
#include "base/json.h"
#include "base/print.h"
#include "quant/transform/outliers.h"

namespace emberq {
namespace {

struct DebugArguments {
  ModelOptions model;
  std::string output;
  int pattern = 0;
  bool json = false;
};

void run(const DebugArguments& options) {
  const OutlierResult report = write_outlier_model(
      {.model = options.model.model, .output = options.output, .pattern = options.pattern});
  if (options.json)
    return print_json({{"output", options.output},
                       {"pattern", options.pattern},
                       {"tensor_bytes", report.tensor_bytes},
                       {"seconds", report.seconds}});
  print_out("{}: outliers of pattern {}, tensors of {:.1f} MB, in {:.1f} s\n", options.output,
            options.pattern, double(report.tensor_bytes) / 1e6, report.seconds);
}

}  // namespace

void add_debug(Command& app) {
  Command debug = app.subcommand("debug", "Make models that test what quantization does");
  debug.need_subcommand();
  Command inject = debug.subcommand(
      "inject-outliers",
      "Write a model that computes the same with large channels in keys and MLP inputs, the hard "
      "case for quantization");
  const auto options = std::make_shared<DebugArguments>();
  add_model(inject, options->model);
  inject.option("--pattern", options->pattern, "Which channels: 0, 1, 2 or any number above")
      .show_default();
  inject
      .option("-o,--output", options->output,
              "The new folder; it appears whole or not at all, and must not exist")
      .required();
  inject.flag("--json", options->json,
              "Print one JSON object: output, pattern, tensor_bytes, seconds");
  inject.action([options] { run(*options); });
  add_debug_report(debug);
}

}  // namespace emberq
