#pragma once

#include <functional>
#include <vector>

#include "measure/cuda/nvml.h"
#include "measure/gemm_bench.h"
#include "ops/backend.h"

namespace emberq::cuda {

// Times calls on a backend's stream, in one regime.
class GpuMeter {
 public:
  static constexpr int kRepeats = 25;                         // of a measurement
  static constexpr size_t kFlushedBytes = size_t(512) << 20;  // ten times the L2 of an H100
  static constexpr size_t kRotatedBytes = size_t(200) << 20;

  GpuMeter(Backend& backend, Regime regime);

  const std::string& card() const { return card_; }
  std::string driver() const;
  std::optional<GpuLoad> load() const { return nvml_.load(); }

  // The fixed cost and the rates of memory, without fp8_rate.
  GpuPeaks measure_peaks();

  // The time of one call, for each repeat. call(i), i = 0, 1, 2, ..., launches one, and picks its
  // operands by i. It must have run before, so that its kernels are loaded.
  std::vector<double> seconds(const std::function<void(int)>& call, int repeats);
  CallTime time(const std::function<void(int)>& call, int repeats);

 private:
  std::vector<double> time_cold(const std::function<void(int)>& call, int repeats);
  std::vector<double> time_graph(const std::function<void(int)>& call, int repeats);
  void flush();

  Backend* backend_;
  Regime regime_;
  std::string card_;
  Nvml nvml_;
  Buffer noise_, sink_;
};

}  // namespace emberq::cuda
