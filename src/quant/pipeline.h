#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/file.h"
#include "ops/backend.h"
#include "quant/recipe.h"

namespace emberq {

struct QuantizeOptions {
  fs::path model;   // a Hugging Face folder, not quantized
  fs::path output;  // appears whole or not at all
  Recipe recipe;
  std::optional<fs::path> calibration;  // a text file, where the recipe needs one
  int64_t calibration_windows = 10;
  int64_t calibration_length = 2048;  // tokens of a window
};

struct QuantizeReport {
  double bits_per_weight = 16;  // of the block's linears, scales included
  uint64_t file_bytes = 0;      // of the weights' files
  int64_t calibration_tokens = 0;
  std::vector<std::string> per_tensor_scaled;  // linears whose p is not 1
  double seconds = 0;
};

// Load, calibrate, and then block by block: smooth, round, save (docs/quantization.md). InputError
// for what cannot be quantized, before anything is written.
QuantizeReport quantize(const QuantizeOptions& options, Backend& backend);

}  // namespace emberq
