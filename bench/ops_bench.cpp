// Times the operations that exist on each backend of this machine: one line per operation and
// shape, with its share of what the memory gives, which is measured first.
//
//   emberq_bench [cpu|cuda]
//
// Calls follow one another without a pause over operands that rotate through more memory than any
// cache holds; a time is the mean of a batch of calls, of which the table has the median and the
// spread.
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <functional>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/table.h"
#include "format/bf16.h"
#include "ops/backend.h"

namespace emberq {
namespace {

constexpr size_t kRotatedBytes = size_t(512) << 20;
constexpr int kBatches = 15;

struct Timing {
  double median = 0, spread = 0;  // seconds of a call; (slowest - fastest) / median
};

// call(i) for i = 0, 1, 2, ... picks its operands by i.
Timing time_calls(Backend& backend, const std::function<void(int)>& call, double estimate) {
  const int calls = std::max(3, int(2e-3 / estimate));
  int next = 0;
  const auto batch = [&] {
    const auto start = std::chrono::steady_clock::now();
    for (int i = 0; i < calls; ++i) call(next++);
    backend.synchronize();
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count() / calls;
  };
  batch(), batch();
  std::vector<double> seconds;
  for (int i = 0; i < kBatches; ++i) seconds.push_back(batch());
  std::sort(seconds.begin(), seconds.end());
  const double median = seconds[kBatches / 2];
  return {median, (seconds.back() - seconds.front()) / median};
}

// Bytes per second of the plainest thing that moves memory, reads and writes counted.
double measure_peak(Backend& backend) {
  const Buffer from(backend, kRotatedBytes), to(backend, kRotatedBytes);
  const Timing timing = time_calls(
      backend, [&](int) { backend.copy(to.as<void>(), from.as<void>(), kRotatedBytes); }, 1e-3);
  return 2.0 * double(kRotatedBytes) / timing.median;
}

// Random elements of the backend's activation type.
Buffer random_activations(Backend& backend, size_t elements) {
  const bool wide = backend.activation_type() == DType::kF32;
  std::vector<float> floats(wide ? elements : 0);
  std::vector<bf16> halves(wide ? 0 : elements);
  uint32_t state = 1;
  for (size_t i = 0; i < elements; ++i) {
    state = state * 1664525 + 1013904223;
    const float x = float(int32_t(state)) * 0x1p-30f;
    if (wide)
      floats[i] = x;
    else
      halves[i] = bf16::from_float(x);
  }
  const size_t bytes = elements * size_bytes(backend.activation_type());
  Buffer buffer(backend, bytes);
  backend.upload(buffer.as<void>(), wide ? static_cast<void*>(floats.data()) : halves.data(),
                 bytes);
  backend.synchronize();
  return buffer;
}

std::vector<std::string> bench_rms_norm(Backend& backend, int64_t rows, int64_t dim, bool quantized,
                                        const Buffer& memory, double peak) {
  const size_t element = size_bytes(backend.activation_type());
  const size_t in_bytes = size_t(rows * dim) * element, copies = kRotatedBytes / in_bytes;
  const Buffer out(backend, size_t(rows * dim) * element * 2), scale(backend, size_t(rows) * 4);
  const Buffer weight(backend, size_t(dim) * 4);
  RmsNorm op{.weight = weight.as<float>()};
  op.out = quantized ? Activations{DType::kF8E4M3, out.as<void>(), scale.as<float>(), rows, dim}
                     : Activations{backend.activation_type(), out.as<void>(), nullptr, rows, dim};
  const auto run = [&](int i) {
    op.x = {backend.activation_type(), memory.as<std::byte>() + size_t(i) % copies * in_bytes,
            nullptr, rows, dim};
    backend.run(op);
  };
  run(0);
  const Cost c = cost(op);
  const Timing timing = time_calls(backend, run, std::max(3e-6, c.bytes / peak));
  return {"rms_norm",
          quantized ? "fp8" : std::string(name(backend.activation_type())),
          fmt::format("{} x {}", rows, dim),
          fmt::format("{:.2f}", timing.median * 1e6),
          fmt::format("{:.0f} %", 100 * timing.spread),
          fmt::format("{:.0f}", c.bytes / timing.median / 1e9),
          fmt::format("{:.0f} %", 100 * c.bytes / timing.median / peak)};
}

void bench(Backend& backend) {
  const double peak = measure_peak(backend);
  fmt::print("backend {}: a copy moves {:.0f} GB/s\n\n", backend.name(), peak / 1e9);
  const Buffer memory =
      random_activations(backend, kRotatedBytes / size_bytes(backend.activation_type()));
  std::vector<std::vector<std::string>> rows = {
      {"operation", "output", "shape", "us", "spread", "GB/s", "of the copy"}};
  for (const int64_t dim : {4096, 8192})
    for (const int64_t tokens : {1, 16, 512, 4096, 8192})
      for (const bool quantized : {false, true})
        rows.push_back(bench_rms_norm(backend, tokens, dim, quantized, memory, peak));
  fmt::print("{}", format_table(rows));
}

}  // namespace
}  // namespace emberq

int main(int argc, char** argv) {
  using namespace emberq;
  const std::string wanted = argc > 1 ? argv[1] : cuda_available() ? "cuda" : "cpu";
  if (argc > 2 || (wanted != "cpu" && wanted != "cuda")) {
    fmt::print(stderr, "emberq_bench [cpu|cuda]\n");
    return 2;
  }
  try {
    bench(*(wanted == "cuda" ? make_cuda_backend() : make_cpu_backend()));
    return 0;
  } catch (const Error& e) {
    fmt::print(stderr, "emberq_bench: {}\n", e.what());
    return 1;
  }
}
