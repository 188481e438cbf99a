#pragma once

#include <functional>
#include <vector>

#include "bench/cuda/nvml.h"
#include "bench/meter.h"
#include "ops/backend.h"

namespace emberq::bench {

class GpuMeter final : public Meter {
 public:
  static constexpr size_t kFlushedBytes = size_t(512) << 20;  // ten times the L2 of an H100
  static constexpr size_t kRotatedBytes = size_t(200) << 20;

  GpuMeter(Backend& backend, Regime regime);

  Conditions conditions() const override;
  std::optional<GpuLoad> load() const override { return nvml_.load(); }
  Peaks measure_peaks() override;
  std::vector<double> seconds(const std::function<void(int)>& call, int repeats) override;

 private:
  void rest() override;
  std::vector<double> time_cold(const std::function<void(int)>& call, int repeats);
  std::vector<double> time_replays(const std::function<void()>& calls, int repeats);
  // Times `call`, each time after `before`, which is not timed.
  std::vector<double> time_each(int repeats, const std::function<void()>& before,
                                const std::function<void(int)>& call);
  void flush();

  Regime regime_;
  Nvml nvml_;
  Buffer noise_, sink_;
};

}  // namespace emberq::bench
