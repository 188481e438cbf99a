#include "bench/meter.h"

#include <algorithm>
#include <cmath>

#include "base/check.h"

namespace emberq::bench {
namespace {

constexpr double kBatchSeconds = 2e-3;
constexpr int kFewestCalls = 4, kMostCalls = 1000;  // in a batch

std::optional<double> share(double least_seconds, const CallTime& time, const Peaks& peaks) {
  const double net = time.seconds - peaks.fixed_seconds;
  if (net <= 0) return std::nullopt;
  return least_seconds / net;
}

}  // namespace

std::string_view name(Regime regime) { return regime == Regime::kCold ? "cold" : "continuous"; }

CallTime summary(std::vector<double> seconds) {
  EMBERQ_CHECK(!seconds.empty(), "a summary of no times");
  std::sort(seconds.begin(), seconds.end());
  const auto at = [&](double share) {
    return seconds[size_t(std::lround(share * double(seconds.size() - 1)))];
  };
  return {.seconds = at(0.5), .spread = (at(0.9) - at(0.1)) / at(0.5)};
}

std::optional<double> share_of_copy(double bytes, const CallTime& time, const Peaks& peaks) {
  return share(bytes / peaks.copy_rate, time, peaks);
}

std::optional<double> share_of_read(double bytes, const CallTime& time, const Peaks& peaks) {
  if (!peaks.read_rate) return std::nullopt;
  return share(bytes / *peaks.read_rate, time, peaks);
}

std::optional<double> share_of_roof(const Cost& cost, const CallTime& time, const Peaks& peaks) {
  if (!peaks.read_rate || !peaks.fp8_rate) return std::nullopt;
  return share(std::max(cost.bytes / *peaks.read_rate, cost.flops / *peaks.fp8_rate), time, peaks);
}

CallTime Meter::time(const std::function<void(int)>& call, int repeats) {
  backend_->synchronize();
  rest();
  CallTime result = summary(seconds(call, repeats));
  result.load = load();
  return result;
}

std::vector<double> Meter::in_batches(const std::function<void(int)>& call, int repeats,
                                      const Timed& timed) {
  const double once = timed([&] { call(0); }, 1).front();
  const int calls = int(std::clamp(kBatchSeconds / once, double(kFewestCalls), double(kMostCalls)));
  const auto batch = [&] {
    for (int i = 0; i < calls; ++i) call(i);
  };
  std::vector<double> seconds = timed(batch, repeats);
  for (double& s : seconds) s /= calls;
  return seconds;
}

}  // namespace emberq::bench
