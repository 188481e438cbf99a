#include <fmt/format.h>

#include <chrono>
#include <fstream>

#include "base/parallel.h"
#include "bench/meter.h"
#include "bench/operands.h"

namespace emberq::bench {
namespace {

constexpr size_t kCopiedBytes = size_t(256) << 20;  // more than a cache holds
constexpr int kPeakRepeats = 15;

class CpuMeter final : public Meter {
 public:
  using Meter::Meter;

  Conditions conditions() const override { return {.device = cpu_name(), .repeats = kRepeats}; }

  Peaks measure_peaks() override {
    const Buffer from = random_activations(backend(), kCopiedBytes), to(backend(), kCopiedBytes);
    const auto copy = [&] { backend().copy(to.as<void>(), from.as<void>(), kCopiedBytes); };
    return {.copy_rate = 2.0 * double(kCopiedBytes) / summary(clocked(copy, kPeakRepeats)).seconds};
  }

  std::vector<double> seconds(const std::function<void(int)>& call, int repeats) override {
    return in_batches(call, repeats, [&](const std::function<void()>& calls, int times) {
      return clocked(calls, times);
    });
  }

 private:
  std::vector<double> clocked(const std::function<void()>& calls, int repeats) {
    using Clock = std::chrono::steady_clock;
    std::vector<double> seconds;
    for (int i = -1; i < repeats; ++i) {  // the first one warms caches and threads
      const auto start = Clock::now();
      calls();
      backend().synchronize();
      if (i >= 0) seconds.push_back(std::chrono::duration<double>(Clock::now() - start).count());
    }
    return seconds;
  }
};

}  // namespace

std::unique_ptr<Meter> make_cpu_meter(Backend& backend) {
  return std::make_unique<CpuMeter>(backend);
}

// Linux names a processor on x86 only.
std::string cpu_name() {
  constexpr std::string_view kKey = "model name\t: ";
  std::string model = "CPU";
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);)
    if (line.starts_with(kKey)) {
      model = line.substr(kKey.size());
      break;
    }
  return fmt::format("{}, {} threads", model, threads());
}

}  // namespace emberq::bench
