#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "ops/backend.h"
#include "ops/cost.h"

// How every benchmark times: docs/benchmarks.md.
namespace emberq::bench {

enum class Regime {
  kCold,        // calls one by one, each with nothing of its own in the L2; on a GPU
  kContinuous,  // calls back to back, on operands that take turns
};
std::string_view name(Regime regime);

// What a card does at a moment.
struct GpuLoad {
  double sm_mhz = 0, watts = 0;
};

struct CallTime {
  double seconds = 0;           // of a call, the median
  double spread = 0;            // (90th percentile - 10th) / median
  std::optional<GpuLoad> load;  // just after the calls
};
CallTime summary(std::vector<double> seconds);

// What the device was seen to give in the same run. Rates are net of the fixed cost; absent is what
// was not measured.
struct Peaks {
  double fixed_seconds = 0;         // of a call that does nothing
  double copy_rate = 0;             // bytes a second copied, reads and writes counted
  std::optional<double> read_rate;  // bytes a second from memory
  std::optional<double> fp8_rate;   // operations a second of cuBLASLt's 8192 x 8192 x 8192
};
// The least time that this takes, as a share of the time it took without the fixed cost: by the
// rate of copies, of reads, or by the longer of reads and products. Absent where a peak is, and
// where it took no longer than nothing does.
std::optional<double> share_of_copy(double bytes, const CallTime& time, const Peaks& peaks);
std::optional<double> share_of_read(double bytes, const CallTime& time, const Peaks& peaks);
std::optional<double> share_of_roof(const Cost& cost, const CallTime& time, const Peaks& peaks);

// Under what the rows of a benchmark were measured.
struct Conditions {
  std::string device, driver;  // "NVIDIA H200"; a CPU has no driver
  Regime regime = Regime::kContinuous;
  int repeats = 0;            // behind each median
  int64_t flushed_bytes = 0;  // read before each call, kCold
  int64_t rotated_bytes = 0;  // of operands that take turns, at least; kContinuous
  Peaks peaks;
  std::optional<GpuLoad> load;  // just after the peaks were measured
};

// Times calls on a backend, in one regime.
class Meter {
 public:
  static constexpr int kRepeats = 25;

  explicit Meter(Backend& backend) : backend_(&backend) {}
  virtual ~Meter() = default;
  Backend& backend() const { return *backend_; }

  virtual Conditions conditions() const = 0;  // of kRepeats; without peaks and load
  virtual std::optional<GpuLoad> load() const { return std::nullopt; }
  // The fixed cost and the rates of memory, without fp8_rate.
  virtual Peaks measure_peaks() = 0;

  // The time of one call, for each repeat. call(i), i = 0, 1, 2, ..., starts one, and picks its
  // operands by i. It must have run before, so that its memory and its code are there.
  virtual std::vector<double> seconds(const std::function<void(int)>& call, int repeats) = 0;
  // After a rest, with what the device did.
  CallTime time(const std::function<void(int)>& call, int repeats = kRepeats);

 protected:
  virtual void rest() {}

  // The time of one call in batches of them. `timed` gives the seconds of what it is given, for
  // each repeat.
  using Timed = std::function<std::vector<double>(const std::function<void()>&, int repeats)>;
  static std::vector<double> in_batches(const std::function<void(int)>& call, int repeats,
                                        const Timed& timed);

 private:
  Backend* backend_;
};

// By the host's clock, kContinuous.
std::unique_ptr<Meter> make_cpu_meter(Backend& backend);
// By events on the stream; what is called back to back is recorded and replayed as a CUDA graph.
// Error in a build without CUDA.
std::unique_ptr<Meter> make_gpu_meter(Backend& backend, Regime regime);

std::string cpu_name();  // and the threads that are used: "Intel(R) Xeon(R) CPU, 2 threads"
std::string gpu_name();  // of the current device; Error in a build without CUDA

}  // namespace emberq::bench
