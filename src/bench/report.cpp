#include "bench/report.h"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <ctime>

#include "base/json.h"

namespace emberq::bench {
namespace {

std::string utc_date() { return fmt::format("{:%Y-%m-%d}", fmt::gmtime(std::time(nullptr))); }

OrderedJson null_if_empty(const std::string& text) {
  return text.empty() ? OrderedJson(nullptr) : OrderedJson(text);
}

OrderedJson json_of(const std::optional<GpuLoad>& load) {
  return {{"sm_mhz", load ? OrderedJson(load->sm_mhz) : OrderedJson(nullptr)},
          {"watts", load ? OrderedJson(load->watts) : OrderedJson(nullptr)}};
}

OrderedJson scaled(const std::optional<double>& value, double scale) {
  return value ? OrderedJson(*value * scale) : OrderedJson(nullptr);
}

}  // namespace

OrderedJson report_json(const Origin& origin, const std::string& device, const OrderedJson& details,
                        const OrderedJson& rows) {
  OrderedJson json = {{"version", origin.version},
                      {"commit", null_if_empty(origin.commit)},
                      {"device", device},
                      {"date", utc_date()},
                      {"command", origin.command}};
  json.update(details);
  json["rows"] = rows;
  return json;
}

OrderedJson json_of(const Conditions& conditions) {
  const Peaks& peaks = conditions.peaks;
  OrderedJson json = {{"driver", null_if_empty(conditions.driver)},
                      {"regime", std::string(name(conditions.regime))},
                      {"repeats", conditions.repeats},
                      {"flushed_bytes", conditions.flushed_bytes},
                      {"rotated_bytes", conditions.rotated_bytes},
                      {"fixed_us", peaks.fixed_seconds * 1e6},
                      {"read_tb_per_s", scaled(peaks.read_rate, 1e-12)},
                      {"copy_tb_per_s", peaks.copy_rate * 1e-12},
                      {"fp8_tflops", scaled(peaks.fp8_rate, 1e-12)}};
  json.update(json_of(conditions.load));
  return json;
}

OrderedJson json_of(const CallTime& time) {
  OrderedJson json = {{"us", time.seconds * 1e6}, {"spread", time.spread}};
  json.update(json_of(time.load));
  return json;
}

std::string heading(const Conditions& conditions) {
  const Peaks& peaks = conditions.peaks;
  std::string text = conditions.device;
  if (!conditions.driver.empty()) text += ", driver " + conditions.driver;
  text += ", " + utc_date();
  if (conditions.load)
    text +=
        fmt::format(", {:.0f} MHz and {:.0f} W", conditions.load->sm_mhz, conditions.load->watts);
  text += "\npeaks: ";
  if (peaks.read_rate) text += fmt::format("{:.2f} TB/s read, ", *peaks.read_rate * 1e-12);
  text += fmt::format("{:.3g} TB/s copied", peaks.copy_rate * 1e-12);
  if (peaks.fp8_rate) text += fmt::format(", FP8 {:.0f} TFLOPS", *peaks.fp8_rate * 1e-12);
  if (peaks.fixed_seconds > 0)
    text += fmt::format("; an empty kernel {:.2f} us", peaks.fixed_seconds * 1e6);
  if (conditions.regime == Regime::kCold)
    return text + fmt::format(
                      "\nsingle calls, each after reading {:.0f} MB, with gaps between; the median "
                      "of {}\n",
                      double(conditions.flushed_bytes) / 1e6, conditions.repeats);
  return text +
         fmt::format("\ncalls back to back, operands take turns in {:.0f} MB; the median of {}\n",
                     double(conditions.rotated_bytes) / 1e6, conditions.repeats);
}

OrderedJson json_of(const std::optional<double>& value) { return scaled(value, 1); }

std::string cell(const std::optional<double>& value, double scale, int digits) {
  return value ? fmt::format("{:.{}f}", *value * scale, digits) : "-";
}

}  // namespace emberq::bench
