#include "measure/cuda/gpu_meter.h"

#include <algorithm>
#include <chrono>
#include <thread>

#include "base/check.h"
#include "measure/cuda/probes.h"
#include "measure/operands.h"
#include "ops/cuda/runtime/check.h"
#include "ops/cuda/runtime/handle.h"
#include "ops/cuda/runtime/stream.h"

namespace emberq::cuda {
namespace {

// Bytes read to measure memory. Only 1 % of them can still be in the L2 from the time before.
constexpr size_t kNoiseBytes = size_t(4) << 30;
constexpr int kPeakRepeats = 15;
constexpr double kBatchSeconds = 2e-3;
constexpr int kFewestCalls = 4, kMostCalls = 1000;  // in a graph
// The rest after a product at the power limit, until the clock has recovered.
constexpr std::chrono::milliseconds kRest(200);

int current_device() {
  int device = 0;
  CUDA_CHECK(cudaGetDevice(&device));
  return device;
}

std::string pci_bus_id() {
  char text[32] = "";
  CUDA_CHECK(cudaDeviceGetPCIBusId(text, sizeof text, current_device()));
  return text;
}

std::string card_name() {
  cudaDeviceProp properties;
  CUDA_CHECK(cudaGetDeviceProperties(&properties, current_device()));
  return properties.name;
}

double seconds_between(const Event& start, const Event& stop) {
  float milliseconds = 0;
  CUDA_CHECK(cudaEventElapsedTime(&milliseconds, start, stop));
  return double(milliseconds) * 1e-3;
}

}  // namespace

GpuMeter::GpuMeter(Backend& backend, Regime regime)
    : backend_(&backend),
      regime_(regime),
      card_(card_name()),
      nvml_(pci_bus_id()),
      noise_(random_bytes(backend, kNoiseBytes)),
      sink_(backend, sizeof(unsigned)) {}

std::string GpuMeter::driver() const {
  std::string version = nvml_.driver();
  if (!version.empty()) return version;
  int cuda = 0;  // 13000 for 13.0
  CUDA_CHECK(cudaDriverGetVersion(&cuda));
  return fmt::format("for CUDA {}.{}", cuda / 1000, cuda % 1000 / 10);
}

// Reads do not evict lines with the evict_last policy, so that policy is reset first.
void GpuMeter::flush() {
  CUDA_CHECK(cudaCtxResetPersistingL2Cache());
  run_read(noise_.as<void>(), kFlushedBytes, sink_.as<unsigned>(), stream_of(*backend_));
}

// The host launches the call while the flush runs, so the time has no launch cost. Then it waits,
// and the gap between repeats lets the card cool.
std::vector<double> GpuMeter::time_cold(const std::function<void(int)>& call, int repeats) {
  const cudaStream_t stream = stream_of(*backend_);
  Event start, stop;
  CUDA_CHECK(cudaEventCreate(start.address()));
  CUDA_CHECK(cudaEventCreate(stop.address()));
  std::vector<double> seconds;
  for (int i = -1; i < repeats; ++i) {  // the first one warms up
    flush();
    CUDA_CHECK(cudaEventRecord(start, stream));
    call(std::max(i, 0));
    CUDA_CHECK(cudaEventRecord(stop, stream));
    CUDA_CHECK(cudaEventSynchronize(stop));
    if (i >= 0) seconds.push_back(seconds_between(start, stop));
  }
  return seconds;
}

std::vector<double> GpuMeter::time_graph(const std::function<void(int)>& call, int repeats) {
  const double once = backend_->time([&] { call(0); }, 1).front();
  const int calls = int(std::clamp(kBatchSeconds / once, double(kFewestCalls), double(kMostCalls)));
  const auto batch = [&] {
    for (int i = 0; i < calls; ++i) call(i);
  };
  std::vector<double> seconds = backend_->time(batch, repeats);
  for (double& s : seconds) s /= calls;
  return seconds;
}

std::vector<double> GpuMeter::seconds(const std::function<void(int)>& call, int repeats) {
  return regime_ == Regime::kCold ? time_cold(call, repeats) : time_graph(call, repeats);
}

CallTime GpuMeter::time(const std::function<void(int)>& call, int repeats) {
  backend_->synchronize();
  std::this_thread::sleep_for(kRest);
  CallTime result = summary(seconds(call, repeats));
  result.load = load();
  return result;
}

GpuPeaks GpuMeter::measure_peaks() {
  const cudaStream_t stream = stream_of(*backend_);
  auto* noise = noise_.as<std::byte>();
  const auto empty = [&](int) { run_empty(stream); };
  const auto alone = [&](const std::function<void(int)>& call) {
    return summary(time_cold(call, kPeakRepeats)).seconds;
  };
  // Copies and reads of gigabytes are single calls in both regimes.
  const double fixed = alone(empty);
  const double read =
      alone([&](int) { run_read(noise, kNoiseBytes, sink_.as<unsigned>(), stream); });
  const double copy =
      alone([&](int) { backend_->copy(noise + kNoiseBytes / 2, noise, kNoiseBytes / 2); });
  return {.fixed_seconds = summary(seconds(empty, kPeakRepeats)).seconds,
          .read_rate = double(kNoiseBytes) / (read - fixed),
          .copy_rate = double(kNoiseBytes) / (copy - fixed)};
}

}  // namespace emberq::cuda
