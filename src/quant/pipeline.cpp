#include "quant/pipeline.h"

#include <sys/resource.h>

#include <chrono>

#include "base/check.h"
#include "base/progress.h"
#include "checkpoint/output_folder.h"
#include "model/load_layer.h"
#include "model/token_ids.h"
#include "model/weight_size.h"
#include "quant/checkpoint_writer.h"
#include "quant/layer_quantizer.h"
#include "quant/plan.h"
#include "quant/recipe/group_size.h"
#include "quant/run_notes.h"
#include "text/read_utf8.h"
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
  EMBERQ_REQUIRE(result.length >= 1, "a calibration window takes at least one token, not {}",
                 result.length);
  EMBERQ_REQUIRE(result.length <= checkpoint.config().max_positions,
                 "a calibration window of {} tokens is longer than the model's {} positions",
                 result.length, checkpoint.config().max_positions);
  const int64_t wanted = options.calibration_windows.value_or(recipe.calibration_windows);
  EMBERQ_REQUIRE(wanted >= 1, "calibration needs at least one window, not {}", wanted);
  const bool fewer_do = recipe.rounding.gptq && !options.calibration_windows;
  const auto texts = int64_t(options.calibration.size());
  const Tokenizer tokenizer = Tokenizer::load(checkpoint.folder());
  for (int64_t i = 0; i < texts; ++i) {
    const fs::path& text = options.calibration[size_t(i)];
    const std::vector<int> ids = tokenizer.encode(read_utf8(text), SpecialTokens::kNone);
    const int64_t share = wanted / texts + (i < wanted % texts ? 1 : 0);
    const int64_t there = int64_t(ids.size()) / result.length;
    EMBERQ_REQUIRE(there >= share || (fewer_do && there > 0),
                   "the calibration text {} has {} tokens, {} windows of {} need {}", text.string(),
                   ids.size(), share, result.length, share * result.length);
    const int64_t windows = std::min(share, there);
    require_in_vocabulary(std::span(ids).first(size_t(windows * result.length)),
                          checkpoint.config().vocab_size, text.string());
    for (int64_t w = 0; w < windows; ++w)
      result.ids.emplace_back(ids.begin() + w * result.length,
                              ids.begin() + (w + 1) * result.length);
  }
  return result;
}

std::vector<int> joined(const CalibrationWindows& windows) {
  std::vector<int> ids;
  for (const std::vector<int>& window : windows.ids)
    ids.insert(ids.end(), window.begin(), window.end());
  return ids;
}

uint64_t weight_file_bytes(const fs::path& folder) {
  uint64_t bytes = 0;
  for (const fs::path& path : entries_of(folder))
    if (path.extension() == ".safetensors") bytes += stamp_of(path).bytes;
  return bytes;
}

uint64_t peak_memory() {
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  return uint64_t(usage.ru_maxrss) * 1024;
}

Checkpoint open_original(const QuantizeOptions& options) {
  Checkpoint checkpoint = Checkpoint::open(options.model);
  checkpoint.require_unquantized();
  check_groups(checkpoint, options.recipe);
  return checkpoint;
}

}  // namespace

void check_quantizable(const QuantizeOptions& options) {
  read_windows(options, open_original(options));
  const OutputDirectory output(options.output);
}

QuantizeResult quantize(const QuantizeOptions& options, Backend& backend) {
  const auto start = std::chrono::steady_clock::now();
  Recipe recipe = options.recipe;
  const Checkpoint checkpoint = open_original(options);
  const ModelConfig& config = checkpoint.config();
  const std::string groups = other_groups(recipe, config);
  if (options.on_note && !groups.empty()) options.on_note(groups);

  OutputDirectory output(options.output, options.resume ? OutputDirectory::Partial::kContinue
                                                        : OutputDirectory::Partial::kRefuse);
  const CalibrationWindows windows = read_windows(options, checkpoint);
  RunNotes notes(output.partial(), run_identity(checkpoint, recipe, options.calibration, windows),
                 options.calibration);
  copy_companion_files(options.model, output.partial());
  PlanResult planned = make_plan(recipe, checkpoint, backend, joined(windows));
  const Plan& plan = planned.plan;
  recipe.kv = planned.kv;
  LayerQuantizer quantizer(checkpoint, backend, recipe, plan, windows, options.examine);
  CheckpointWriter files(checkpoint, output.partial(), recipe, plan, quantizer.down_hadamard(),
                         notes);

  QuantizeResult report{.calibration_tokens = windows.tokens()};
  report.sensitivities = planned.sensitivities;
  report.choices = planned.choices;
  report.analysis = planned.text;
  report.blocks.resize(size_t(config.num_layers));
  report.resumed = files.finished_blocks();
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
  report.bits_per_weight = bits_per_weight(files.finish(quantizer));
  report.file_bytes = weight_file_bytes(output.partial());
  report.global_scaled = files.global_scaled();
  notes.put_aside();
  output.commit();
  notes.remove();
  report.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  report.peak_memory = peak_memory();
  return report;
}

}  // namespace emberq
