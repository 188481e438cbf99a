#include "apps/bench_report.h"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <ctime>

#include "base/check.h"
#include "base/json.h"
#include "ops/backend.h"

namespace emberq {

std::string utc_date() { return fmt::format("{:%Y-%m-%d}", fmt::gmtime(std::time(nullptr))); }

OrderedJson json_of(const std::optional<double>& value) {
  return value ? OrderedJson(*value) : OrderedJson(nullptr);
}

std::string cell(const std::optional<double>& value, double scale, int digits) {
  return value ? fmt::format("{:.{}f}", *value * scale, digits) : "-";
}

OrderedJson json_of(const std::optional<GpuLoad>& load) {
  return {{"sm_mhz", load ? OrderedJson(load->sm_mhz) : OrderedJson(nullptr)},
          {"watts", load ? OrderedJson(load->watts) : OrderedJson(nullptr)}};
}

OrderedJson json_of(const CallTime& time) {
  OrderedJson json = {{"us", time.seconds * 1e6}, {"spread", time.spread}};
  json.update(json_of(time.load));
  return json;
}

void require_gpu(std::string_view command) {
  EMBERQ_REQUIRE(cuda_available(),
                 "{} measures on a GPU of compute capability 9.0 (H100, H200): this machine has "
                 "none that can be used, or this program was built without CUDA",
                 command);
}

}  // namespace emberq
