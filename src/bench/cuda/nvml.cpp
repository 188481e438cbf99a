#include "bench/cuda/nvml.h"

namespace emberq::bench {
namespace {

constexpr int kSmClock = 1;  // NVML_CLOCK_SM

}  // namespace

Nvml::Nvml(const std::string& pci_bus_id) {
  const bool complete = library_.open("libnvidia-ml.so.1") &&
                        library_.find("nvmlInit_v2", call_.init) &&
                        library_.find("nvmlShutdown", call_.shutdown) &&
                        library_.find("nvmlDeviceGetHandleByPciBusId_v2", call_.device) &&
                        library_.find("nvmlDeviceGetClockInfo", call_.clock) &&
                        library_.find("nvmlDeviceGetPowerUsage", call_.power) &&
                        library_.find("nvmlSystemGetDriverVersion", call_.driver_version);
  started_ = complete && call_.init() == 0;
  if (started_ && call_.device(pci_bus_id.c_str(), &device_) != 0) device_ = nullptr;
}

Nvml::~Nvml() {
  if (started_) call_.shutdown();
}

std::string Nvml::driver() const {
  char text[96] = "";
  if (!started_ || call_.driver_version(text, sizeof text) != 0) return "";
  return text;
}

std::optional<GpuLoad> Nvml::load() const {
  unsigned mhz = 0, milliwatts = 0;
  if (!device_ || call_.clock(device_, kSmClock, &mhz) != 0 ||
      call_.power(device_, &milliwatts) != 0)
    return std::nullopt;
  return GpuLoad{.sm_mhz = double(mhz), .watts = double(milliwatts) * 1e-3};
}

}  // namespace emberq::bench
