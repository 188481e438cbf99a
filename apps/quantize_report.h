#pragma once

#include <string>
#include <vector>

#include "base/json_fwd.h"
#include "quant/pipeline.h"

namespace emberq {

// The recipes that a page compares with, but for the main one, each into OUTPUT.against-N.
// InputError where there is no such recipe. None without a calibration text, on which they are
// measured.
std::vector<QuantizeOptions> other_methods(const QuantizeOptions& main,
                                           const std::vector<std::string>& recipes);

// What `emberq quantize --report` shows (report/report.h): what the pipeline saw, and FP32, the new
// model and each of `others` measured on the calibration text. Those are quantized for it, and
// removed.
OrderedJson quantize_report(const QuantizeOptions& options, const QuantizeResult& report,
                            const std::vector<QuantizeOptions>& others, Backend& backend);

}  // namespace emberq
