// Times the operations that a backend has but products, which `emberq bench gemm` times: one line
// per operation and shape, with its share of what the memory gives, which is measured first.
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

// Outputs of an operation, at a place in memory that moves on with the call.
class RotatingOutput {
 public:
  RotatingOutput(Backend& backend, int64_t rows, int64_t dim, DType type)
      : rows_(rows),
        dim_(dim),
        type_(type),
        bytes_(size_t(rows * dim) * size_bytes(type)),
        places_(std::max<size_t>(1, (size_t(128) << 20) / bytes_)),
        memory_(backend, places_ * bytes_),
        scale_(backend, size_t(rows) * sizeof(float)) {}

  Activations operator()(int call) const {
    return {type_, memory_.as<std::byte>() + size_t(call) % places_ * bytes_, scale_.as<float>(),
            rows_, dim_};
  }

 private:
  int64_t rows_, dim_;
  DType type_;
  size_t bytes_, places_;
  Buffer memory_, scale_;
};

enum class Addend { kNone, kResidual };

void bench_rms_norm(Harness& harness, int64_t rows, int64_t dim, DType type, Addend addend) {
  Backend& backend = harness.backend();
  const RotatingOutput out(backend, rows, dim, type),
      sum(backend, rows, dim, backend.activation_type());
  const Buffer weight = upload(backend, std::vector<float>(size_t(dim), 1.0f));
  const auto op = [&](int call) {
    if (addend == Addend::kNone)
      return RmsNorm{
          .x = harness.rotating(call, rows, dim), .weight = weight.as<float>(), .out = out(call)};
    return RmsNorm{.x = harness.rotating(2 * call, rows, dim),
                   .addend = harness.rotating(2 * call + 1, rows, dim),
                   .sum = sum(call),
                   .weight = weight.as<float>(),
                   .out = out(call)};
  };
  const std::string variant =
      std::string(name(type)) + (addend == Addend::kResidual ? " of a sum" : "");
  harness.measure("rms_norm", variant, fmt::format("{} x {}", rows, dim), cost(op(0)),
                  [&](int call) { backend.run(op(call)); });
}

void bench_per_token_quantize(Harness& harness, int64_t rows, int64_t dim) {
  Backend& backend = harness.backend();
  const RotatingOutput out(backend, rows, dim, DType::kF8E4M3);
  const auto op = [&](int call) {
    return PerTokenQuantize{.x = harness.rotating(call, rows, dim), .out = out(call)};
  };
  harness.measure("per_token_quantize", std::string(name(DType::kF8E4M3)),
                  fmt::format("{} x {}", rows, dim), cost(op(0)),
                  [&](int call) { backend.run(op(call)); });
}

enum class Inputs { kApart, kInterleaved };

void bench_silu_mul(Harness& harness, int64_t rows, int64_t dim, DType type, Inputs inputs,
                    int64_t hadamard) {
  Backend& backend = harness.backend();
  const RotatingOutput out(backend, rows, dim, type);
  const auto op = [&](int call) {
    SiluAndMul product{.out = out(call), .hadamard = hadamard};
    if (inputs == Inputs::kInterleaved) {
      product.gate = harness.rotating(call, rows, 2 * dim);
    } else {
      product.gate = harness.rotating(2 * call, rows, dim);
      product.up = harness.rotating(2 * call + 1, rows, dim);
    }
    return product;
  };
  const std::string variant =
      fmt::format("{}{}{}", name(type), inputs == Inputs::kInterleaved ? " interleaved" : "",
                  hadamard ? fmt::format(" hadamard {}", hadamard) : "");
  harness.measure("silu_and_mul", variant, fmt::format("{} x {}", rows, dim), cost(op(0)),
                  [&](int call) { backend.run(op(call)); });
}

// What stands between the products of a block, in the shapes of Llama 3 8B.
void bench_neighbours(Harness& harness, int64_t rows) {
  const DType own = harness.backend().activation_type(), e4m3 = DType::kF8E4M3;
  for (const DType type : {own, e4m3}) bench_rms_norm(harness, rows, 4096, type, Addend::kResidual);
  bench_per_token_quantize(harness, rows, 4096);
  bench_per_token_quantize(harness, rows, 14336);
  bench_silu_mul(harness, rows, 14336, own, Inputs::kApart, 0);
  for (const Inputs inputs : {Inputs::kApart, Inputs::kInterleaved})
    for (const int64_t hadamard : {0, 512})
      bench_silu_mul(harness, rows, 14336, e4m3, inputs, hadamard);
}

void bench(Backend& backend, bool json) {
  Harness harness(backend);
  const int64_t most_rows = backend.name() == "cpu" ? 512 : 16384;
  for (const int64_t dim : {4096, 8192})
    for (const int64_t rows : {1, 16, 512, 4096, 16384})
      for (const DType type : {backend.activation_type(), DType::kF8E4M3})
        if (rows <= most_rows) bench_rms_norm(harness, rows, dim, type, Addend::kNone);
  for (const int64_t rows : {1, 16, 1024, 4096})
    if (rows <= most_rows) bench_neighbours(harness, rows);
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
