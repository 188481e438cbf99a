#include "quant/pipeline.h"

#include <sys/resource.h>

#include <chrono>

#include "base/check.h"
#include "base/progress.h"
#include "model/load_layer.h"
#include "quant/block_quantizer.h"
#include "quant/group_size.h"
#include "quant/model_files.h"
#include "quant/plan.h"
#include "text/tokenizer.h"

namespace emberq {
namespace {

// `count` windows from the start of each text in turn. For error feedback fewer do where a text is
// short; statistics that a published method takes from so many windows are not taken from fewer.
CalibrationWindows read_windows(const QuantizeOptions& options, const Checkpoint& checkpoint) {
  const Recipe& recipe = options.recipe;
  CalibrationWindows result{.length = options.calibration_length};
  if (!recipe.needs_calibration()) return result;
  EMBERQ_REQUIRE(!options.calibration.empty(), "the recipe {} needs a calibration text (--calib)",
                 recipe.name);
  EMBERQ_REQUIRE(result.length >= 1 && result.length <= checkpoint.config().max_positions,
                 "a calibration window of {} tokens is longer than the model's {} positions",
                 result.length, checkpoint.config().max_positions);
  const int64_t wanted = options.calibration_windows.value_or(recipe.calibration_windows);
  EMBERQ_REQUIRE(wanted >= 1, "calibration needs at least one window, not {}", wanted);
  const bool fewer_do = recipe.rounding.gptq && !options.calibration_windows;
  const auto texts = int64_t(options.calibration.size());
  const Tokenizer tokenizer = Tokenizer::load(checkpoint.folder());
  for (int64_t i = 0; i < texts; ++i) {
    const fs::path& text = options.calibration[size_t(i)];
    const std::vector<int> ids = tokenizer.encode(read_text(text), SpecialTokens::kNone);
    const int64_t share = wanted / texts + (i < wanted % texts ? 1 : 0);
    const int64_t there = int64_t(ids.size()) / result.length;
    EMBERQ_REQUIRE(there >= share || (fewer_do && there > 0),
                   "the calibration text {} has {} tokens, {} windows of {} need {}", text.string(),
                   ids.size(), share, result.length, share * result.length);
    for (int64_t w = 0; w < std::min(share, there); ++w)
      result.ids.emplace_back(ids.begin() + w * result.length,
                              ids.begin() + (w + 1) * result.length);
  }
  return result;
}

// What a resumed run must have in common with the one that it continues.
OrderedJson about(const QuantizeOptions& options, const CalibrationWindows& windows) {
  OrderedJson texts = OrderedJson::array();
  for (const fs::path& text : options.calibration) texts.push_back(fs::absolute(text).string());
  return {{"model", fs::absolute(options.model).string()},
          {"recipe", to_json(options.recipe)},
          {"calibration", texts},
          {"windows", windows.ids.size()},
          {"length", windows.length}};
}

std::vector<int> joined(const CalibrationWindows& windows) {
  std::vector<int> ids;
  for (const std::vector<int>& window : windows.ids)
    ids.insert(ids.end(), window.begin(), window.end());
  return ids;
}

uint64_t weight_file_bytes(const fs::path& folder) {
  uint64_t bytes = 0;
  for (const auto& entry : fs::directory_iterator(folder))
    if (entry.path().extension() == ".safetensors") bytes += entry.file_size();
  return bytes;
}

uint64_t peak_memory() {
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  return uint64_t(usage.ru_maxrss) * 1024;
}

}  // namespace

QuantizeReport quantize(const QuantizeOptions& options, Backend& backend) {
  const auto start = std::chrono::steady_clock::now();
  Recipe recipe = options.recipe;
  const Checkpoint checkpoint = Checkpoint::open(options.model);
  const ModelConfig& config = checkpoint.config();
  checkpoint.require_unquantized();
  check_groups(checkpoint, recipe);
  const std::string groups = other_groups(recipe, config);
  if (options.on_note && !groups.empty()) options.on_note(groups);

  OutputDirectory output(options.output, options.resume ? OutputDirectory::Partial::kContinue
                                                        : OutputDirectory::Partial::kRefuse);
  const CalibrationWindows windows = read_windows(options, checkpoint);
  PlanReport planned = make_plan(recipe, checkpoint, backend, joined(windows));
  const Plan& plan = planned.plan;
  recipe.kv = planned.kv;
  BlockQuantizer quantizer(checkpoint, backend, recipe, plan, windows, options.examine);
  ModelFiles files(checkpoint, output.partial(), recipe, plan, quantizer.down_hadamard());

  QuantizeReport report{.calibration_tokens = windows.tokens()};
  report.sensitivities = planned.sensitivities;
  report.choices = planned.choices;
  report.analysis = planned.text;
  report.blocks.resize(size_t(config.num_layers));
  report.resumed = files.resume(about(options, windows));
  checkpoint.forget_pages();
  Progress progress("quantize", config.num_layers);
  if (report.resumed > 0) {
    const Checkpoint finished = files.finished();
    for (int64_t layer = 0; layer < report.resumed; ++layer) {
      quantizer.skip(layer, load_layer(finished, backend, layer));
      checkpoint.forget_pages();
      finished.forget_pages();
      progress.step();
    }
  }
  for (int64_t layer = report.resumed; layer < config.num_layers; ++layer) {
    files.write_block(layer, quantizer.quantize(layer, report.blocks[size_t(layer)]));
    output.keep();
    checkpoint.forget_pages();
    if (options.on_block) options.on_block(layer);
    progress.step();
  }
  files.finish(quantizer);

  report.bits_per_weight = files.bits_per_weight();
  report.file_bytes = weight_file_bytes(output.partial());
  report.per_tensor_scaled = files.per_tensor_scaled();
  output.commit();
  report.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  report.peak_memory = peak_memory();
  return report;
}

}  // namespace emberq
