#pragma once

#include <optional>
#include <string>

#include "base/json_fwd.h"
#include "bench/meter.h"

// What the reports of all benchmarks share.
namespace emberq::bench {

// What ran: "0.1.0", "c2a9eed-dirty" or empty, and the command line.
struct Origin {
  std::string version, commit, command;
};

// The one form of a benchmark's JSON: version, commit, device, date and command, then `details`,
// and `rows` at the end.
OrderedJson report_json(const Origin& origin, const std::string& device, const OrderedJson& details,
                        const OrderedJson& rows);
// driver, regime, repeats, flushed_bytes, rotated_bytes, fixed_us, read_tb_per_s, copy_tb_per_s,
// fp8_tflops, sm_mhz, watts
OrderedJson json_of(const Conditions& conditions);
OrderedJson json_of(const CallTime& time);  // us, spread, sm_mhz, watts

// The lines above a table.
std::string heading(const Conditions& conditions);

// Numbers that may be absent: null, and "-" in a table.
OrderedJson json_of(const std::optional<double>& value);
std::string cell(const std::optional<double>& value, double scale, int digits);

}  // namespace emberq::bench
