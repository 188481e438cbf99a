#pragma once

#include <utility>

#include "quant/pipeline.h"
#include "support/shared.h"

namespace emberq::test {

// A quantization of a tiny model (support/tiny_model.h), with as little calibration as will do.
inline QuantizeOptions tiny_quantization(const fs::path& model, const fs::path& output,
                                         Recipe recipe) {
  return {.model = model,
          .output = output,
          .recipe = std::move(recipe),
          .calibration = {source_folder() / "data/enwiki-excerpt.txt"},
          .calibration_windows = 3,
          .calibration_length = 64};
}

}  // namespace emberq::test
