#pragma once

#include <optional>
#include <string>

#include "base/json_fwd.h"
#include "measure/gemm_bench.h"

// What the reports of `emberq bench` share.
namespace emberq {

std::string utc_date();  // "2026-11-21"

// Numbers that may be absent: null, and "-" in a table.
OrderedJson json_of(const std::optional<double>& value);
std::string cell(const std::optional<double>& value, double scale, int digits);

OrderedJson json_of(const std::optional<GpuLoad>& load);  // sm_mhz, watts
OrderedJson json_of(const CallTime& time);                // us, spread, sm_mhz, watts

// InputError where there is none to measure on; `command` is "bench gemm".
void require_gpu(std::string_view command);

}  // namespace emberq
