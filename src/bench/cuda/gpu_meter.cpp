#include "bench/cuda/gpu_meter.h"

#include <algorithm>
#include <chrono>
#include <thread>

#include "base/check.h"
#include "bench/cuda/probes.h"
#include "bench/operands.h"
#include "ops/cuda/runtime/check.h"
#include "ops/cuda/runtime/handle.h"
#include "ops/cuda/runtime/stream.h"

namespace emberq::bench {
namespace {

using cuda::Event;
using cuda::stream_of;

// Bytes read to measure memory. Only 1 % of them can still be in the L2 from the time before.
constexpr size_t kNoiseBytes = size_t(4) << 30;
constexpr int kPeakRepeats = 15;
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

double seconds_between(const Event& start, const Event& stop) {
  float milliseconds = 0;
  CUDA_CHECK(cudaEventElapsedTime(&milliseconds, start, stop));
  return double(milliseconds) * 1e-3;
}

}  // namespace

GpuMeter::GpuMeter(Backend& backend, Regime regime)
    : Meter(backend),
      regime_(regime),
      nvml_(pci_bus_id()),
      noise_(random_bytes(backend, kNoiseBytes)),
      sink_(backend, sizeof(unsigned)) {}

Conditions GpuMeter::conditions() const {
  Conditions conditions{
      .device = gpu_name(), .driver = nvml_.driver(), .regime = regime_, .repeats = kRepeats};
  if (conditions.driver.empty()) {
    int cuda = 0;  // 13000 for 13.0
    CUDA_CHECK(cudaDriverGetVersion(&cuda));
    conditions.driver = fmt::format("for CUDA {}.{}", cuda / 1000, cuda % 1000 / 10);
  }
  (regime_ == Regime::kCold ? conditions.flushed_bytes : conditions.rotated_bytes) =
      int64_t(regime_ == Regime::kCold ? kFlushedBytes : kRotatedBytes);
  return conditions;
}

void GpuMeter::rest() { std::this_thread::sleep_for(kRest); }

// Reads do not evict lines with the evict_last policy, so that policy is reset first.
void GpuMeter::flush() {
  CUDA_CHECK(cudaCtxResetPersistingL2Cache());
  run_read(noise_.as<void>(), kFlushedBytes, sink_.as<unsigned>(), stream_of(backend()));
}

std::vector<double> GpuMeter::time_each(int repeats, const std::function<void()>& before,
                                        const std::function<void(int)>& call) {
  const cudaStream_t stream = stream_of(backend());
  Event start, stop;
  CUDA_CHECK(cudaEventCreate(start.address()));
  CUDA_CHECK(cudaEventCreate(stop.address()));
  std::vector<double> seconds;
  for (int i = -1; i < repeats; ++i) {  // the first one warms up
    before();
    CUDA_CHECK(cudaEventRecord(start, stream));
    call(std::max(i, 0));
    CUDA_CHECK(cudaEventRecord(stop, stream));
    CUDA_CHECK(cudaEventSynchronize(stop));
    if (i >= 0) seconds.push_back(seconds_between(start, stop));
  }
  return seconds;
}

// The host launches the call while the flush runs, so the time has no launch cost. Then it waits,
// and the gap between repeats lets the card cool.
std::vector<double> GpuMeter::time_cold(const std::function<void(int)>& call, int repeats) {
  return time_each(
      repeats, [&] { flush(); }, call);
}

std::vector<double> GpuMeter::time_replays(const std::function<void()>& calls, int repeats) {
  const auto recording = backend().record(calls);
  return time_each(
      repeats, [] {}, [&](int) { recording->replay(); });
}

std::vector<double> GpuMeter::seconds(const std::function<void(int)>& call, int repeats) {
  if (regime_ == Regime::kCold) return time_cold(call, repeats);
  return in_batches(call, repeats, [&](const std::function<void()>& calls, int times) {
    return time_replays(calls, times);
  });
}

Peaks GpuMeter::measure_peaks() {
  const cudaStream_t stream = stream_of(backend());
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
      alone([&](int) { backend().copy(noise + kNoiseBytes / 2, noise, kNoiseBytes / 2); });
  return {.fixed_seconds = summary(seconds(empty, kPeakRepeats)).seconds,
          .copy_rate = double(kNoiseBytes) / (copy - fixed),
          .read_rate = double(kNoiseBytes) / (read - fixed)};
}

std::unique_ptr<Meter> make_gpu_meter(Backend& backend, Regime regime) {
  return std::make_unique<GpuMeter>(backend, regime);
}

std::string gpu_name() {
  cudaDeviceProp properties;
  CUDA_CHECK(cudaGetDeviceProperties(&properties, current_device()));
  return properties.name;
}

}  // namespace emberq::bench
