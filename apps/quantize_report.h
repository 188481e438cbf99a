#pragma once

#include <string>
#include <vector>

#include "base/json.h"
#include "quant/pipeline.h"

namespace emberq {

// What `emberq quantize --report` shows (report/report.h): what the pipeline saw, and FP32, the new
// model and each recipe of `against` measured on the calibration text. Those are quantized for it,
// beside the output, and removed.
OrderedJson quantize_report(const QuantizeOptions& options, const QuantizeReport& report,
                            const std::vector<std::string>& against, Backend& backend);

}  // namespace emberq
