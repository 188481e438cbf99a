// Times the operations that a backend has: one line per operation and shape, with its share of what
// the memory gives, which is measured first.
//
//   emberq_bench [cpu|cuda] [--json]
#include <fmt/format.h>

#include <algorithm>
#include <span>
#include <string_view>

#include "base/error.h"
#include "bench/harness.h"

namespace emberq::bench {
namespace {

void bench_rms_norm(Harness& harness, int64_t rows, int64_t dim, DType type) {
  Backend& backend = harness.backend();
  const size_t out_bytes = size_t(rows * dim) * size_bytes(type);
  const size_t places = std::max<size_t>(1, (size_t(128) << 20) / out_bytes);
  const Buffer out(backend, places * out_bytes), scale(backend, size_t(rows) * sizeof(float)),
      weight(backend, size_t(dim) * sizeof(float));
  const std::vector<float> ones(size_t(dim), 1.0f);
  backend.upload(weight.as<void>(), ones.data(), ones.size() * sizeof(float));
  backend.synchronize();

  const auto op = [&](int call) {
    auto* to = out.as<std::byte>() + size_t(call) % places * out_bytes;
    return RmsNorm{.x = harness.rotating(call, rows, dim),
                   .weight = weight.as<float>(),
                   .out = {type, to, scale.as<float>(), rows, dim}};
  };
  harness.measure("rms_norm", std::string(name(type)), fmt::format("{} x {}", rows, dim),
                  cost(op(0)), [&](int call) { backend.run(op(call)); });
}

void bench(Backend& backend, bool json) {
  Harness harness(backend);
  const int64_t most_rows = backend.name() == "cpu" ? 512 : 16384;
  for (const int64_t dim : {4096, 8192})
    for (const int64_t rows : {1, 16, 512, 4096, 16384})
      for (const DType type : {backend.activation_type(), DType::kF8E4M3})
        if (rows <= most_rows) bench_rms_norm(harness, rows, dim, type);
  fmt::print("{}", json ? harness.json() : harness.table());
}

}  // namespace
}  // namespace emberq::bench

int main(int argc, char** argv) {
  using namespace emberq;
  std::string_view backend = cuda_available() ? "cuda" : "cpu";
  bool json = false;
  for (const std::string_view argument : std::span(argv + 1, size_t(argc - 1))) {
    if (argument == "cpu" || argument == "cuda") {
      backend = argument;
    } else if (argument == "--json") {
      json = true;
    } else {
      fmt::print(stderr, "emberq_bench [cpu|cuda] [--json]\n");
      return 2;
    }
  }
  try {
    bench::bench(*(backend == "cuda" ? make_cuda_backend() : make_cpu_backend()), json);
    return 0;
  } catch (const Error& e) {
    fmt::print(stderr, "emberq_bench: {}\n", e.what());
    return 1;
  }
}
