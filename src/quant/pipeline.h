#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "base/file.h"
#include "ops/backend.h"
#include "quant/analysis/allocation.h"
#include "quant/layer_result.h"
#include "quant/recipe/recipe.h"

namespace emberq {

struct QuantizeOptions {
  fs::path model;   // a Hugging Face folder, not quantized
  fs::path output;  // appears whole or not at all
  Recipe recipe;
  std::vector<fs::path> calibration = {};           // text files, where the recipe needs one
  std::optional<int64_t> calibration_windows = {};  // instead of the recipe's
  int64_t calibration_length = 2048;                // tokens of a window
  bool resume = false;  // go on with the finished blocks in OUTPUT.partial
  bool examine =
      false;  // measure what only a report shows: LayerResult's smoothed_keys, error_cache
  std::function<void(int64_t layer)> on_block = {};  // called when a block is on the disk
  // Called with each line that says what will be other than the recipe, before work begins.
  std::function<void(const std::string& line)> on_note = {};
};

struct QuantizeResult {
  double bits_per_weight = 16;  // of the block's linears, scales included
  uint64_t file_bytes = 0;      // of the weights' files
  int64_t calibration_tokens = 0;
  std::vector<std::string> global_scaled;  // linears whose p is not 1
  std::vector<Sensitivity> sensitivities;  // where the recipe asks for an analysis
  std::vector<PlanChoice> choices;         // what was chosen by it
  std::string analysis;                    // that as a table, and what was chosen why
  std::vector<LayerResult> blocks;         // by layer; empty for those that were resumed
  int64_t resumed = 0;                     // blocks that were there
  double seconds = 0;
  uint64_t peak_memory = 0;  // bytes resident, of the process so far
};

// What quantize() would refuse before it begins, as its InputError: a model, a recipe, texts or an
// output that do not fit each other. Leaves nothing behind.
void check_quantizable(const QuantizeOptions& options);

// Block by block: calibrate, transform, round, save (docs/methods.md). InputError for what
// cannot be quantized, before anything is written. What is held at a time: the calibration's
// residual streams, two blocks in double, and statistics of one linear's input.
//
// Where it ends early with blocks finished, OUTPUT.partial stays. LockedError where another process
// is writing OUTPUT.
QuantizeResult quantize(const QuantizeOptions& options, Backend& backend);

}  // namespace emberq
