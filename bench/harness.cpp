#include "bench/harness.h"

#include <algorithm>

#include "base/check.h"
#include "base/json.h"
#include "base/table.h"
#include "format/bf16.h"

namespace emberq::bench {
namespace {

constexpr size_t kRotatedBytes = size_t(512) << 20;  // ten times the L2 of an H100
constexpr double kBatchSeconds = 2e-3;
constexpr int kMaxCalls = 1000;  // in a batch
constexpr int kBatches = 15;

// Numbers between -2 and 2: a cheap generator, since there are many.
template <class T, class Round>
void upload_random(Backend& backend, const Buffer& to, size_t bytes, const Round& round) {
  std::vector<T> values(bytes / sizeof(T));
  uint32_t state = 1;
  for (T& value : values) {
    state = state * 1664525 + 1013904223;
    value = round(float(int32_t(state)) * 0x1p-30f);
  }
  backend.upload(to.as<void>(), values.data(), bytes);
  backend.synchronize();
}

struct Timing {
  double median = 0, spread = 0;  // seconds of a call; (slowest - fastest) / median
};

Timing timing_of(std::vector<double> batches, int calls) {
  std::sort(batches.begin(), batches.end());
  const double median = batches[batches.size() / 2];
  return {median / calls, (batches.back() - batches.front()) / median};
}

// Bytes per second of a copy, reads and writes counted. By the host's clock, which is what
// Backend::time is by default: recorded in a CUDA graph, copies are left to slower engines.
double measure_copy(Backend& backend, const Buffer& from) {
  constexpr int kCopies = 8;
  const Buffer to(backend, kRotatedBytes);
  const auto copies = [&] {
    for (int i = 0; i < kCopies; ++i) backend.copy(to.as<void>(), from.as<void>(), kRotatedBytes);
  };
  const Timing copy = timing_of(backend.Backend::time(copies, kBatches), kCopies);
  return 2.0 * double(kRotatedBytes) / copy.median;
}

}  // namespace

Harness::Harness(Backend& backend) : backend_(&backend), operands_(backend, kRotatedBytes) {
  if (backend.activation_type() == DType::kF32)
    upload_random<float>(backend, operands_, kRotatedBytes, [](float x) { return x; });
  else
    upload_random<bf16>(backend, operands_, kRotatedBytes, bf16::from_float);
  bytes_per_second_ = measure_copy(backend, operands_);
}

Activations Harness::rotating(int call, int64_t rows, int64_t dim) const {
  const DType type = backend_->activation_type();
  const size_t bytes = size_t(rows * dim) * size_bytes(type);
  const size_t places = kRotatedBytes / bytes;
  EMBERQ_CHECK(places > 0, "operands of {} bytes are larger than {}", bytes, kRotatedBytes);
  return {type, operands_.as<std::byte>() + size_t(call) % places * bytes, nullptr, rows, dim};
}

void Harness::measure(const std::string& operation, const std::string& variant,
                      const std::string& shape, const Cost& cost,
                      const std::function<void(int)>& call) {
  const double once = backend_->time([&] { call(0); }, 1).front();
  const int calls = std::clamp(int(kBatchSeconds / once), 3, kMaxCalls);
  const auto batch = [&] {
    for (int i = 0; i < calls; ++i) call(i);
  };
  const Timing timing = timing_of(backend_->time(batch, kBatches), calls);
  measurements_.push_back({operation, variant, shape, cost, timing.median, timing.spread});
}

double Harness::share_of_roof(const Measurement& m) const {
  return m.cost.bytes / bytes_per_second_ / m.seconds;
}

std::string Harness::table() const {
  std::vector<std::vector<std::string>> rows = {
      {"operation", "variant", "shape", "us", "spread", "GB/s", "of a copy"}};
  for (const Measurement& m : measurements_)
    rows.push_back({m.operation, m.variant, m.shape, fmt::format("{:.2f}", m.seconds * 1e6),
                    fmt::format("{:.1f} %", 100 * m.spread),
                    fmt::format("{:.0f}", m.cost.bytes / m.seconds / 1e9),
                    fmt::format("{:.0f} %", 100 * share_of_roof(m))});
  return fmt::format("backend {}: a copy moves {:.0f} GB/s\n\n{}", backend_->name(),
                     bytes_per_second_ / 1e9, format_table(rows));
}

std::string Harness::json() const {
  std::string lines;
  for (const Measurement& m : measurements_)
    lines += OrderedJson{{"backend", backend_->name()},
                         {"operation", m.operation},
                         {"variant", m.variant},
                         {"shape", m.shape},
                         {"seconds", m.seconds},
                         {"spread", m.spread},
                         {"bytes", m.cost.bytes},
                         {"flops", m.cost.flops},
                         {"share_of_copy", share_of_roof(m)}}
                 .dump() +
             "\n";
  return lines;
}

}  // namespace emberq::bench
