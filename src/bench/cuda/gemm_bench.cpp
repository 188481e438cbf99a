// Runs the benchmark of bench/gemm_bench.h: one row for each shape and number of tokens. Each
// product of a row is checked, then timed.
#include "bench/gemm_bench.h"

#include <algorithm>
#include <cmath>

#include "base/check.h"
#include "base/progress.h"
#include "bench/cuda/cutlass.h"
#include "bench/cuda/gpu_meter.h"
#include "bench/operands.h"
#include "format/bf16.h"
#include "ops/cuda/cublaslt/cublaslt.h"
#include "ops/cuda/runtime/check.h"
#include "ops/cuda/runtime/stream.h"

namespace emberq::bench {
namespace {

using Inputs = cuda::CublasLtProduct::Inputs;

constexpr int kTrialRepeats = 5;           // to choose among algorithms or tiles
constexpr int64_t kPeakSide = 8192;        // M, N and K of the product that gives the peak rate
constexpr int64_t kFp8Rows = 16;           // cuBLASLt takes multiples of this
constexpr int64_t kComparedOutputs = 256;  // columns of out, and rows of W
constexpr int64_t kComparedTokens = 64;
constexpr double kLargestError = 0.01;  // two roundings to BF16 and 14-bit sums make 0.002

int64_t round_up(int64_t value, int64_t unit) { return (value + unit - 1) / unit * unit; }

// The operands of cuBLASLt, of one type: activations, and memory through which weights rotate.
struct CublasOperands {
  size_t element_bytes = 0;
  Buffer x, w;
  size_t w_bytes = 0;

  static size_t place_bytes(size_t weight_bytes) {
    return size_t(round_up(int64_t(weight_bytes), 256));  // alignment for cuBLASLt
  }
  const std::byte* weight(int call, int64_t n, int64_t k) const {
    const size_t place = place_bytes(size_t(n * k) * element_bytes);
    return w.as<std::byte>() + size_t(call) % (w_bytes / place) * place;
  }
};

// Outputs of the naive kernel, to compare with.
struct Expected {
  std::vector<int64_t> outputs;  // columns that are compared
  std::vector<bf16> values;      // [most tokens, outputs.size()]
};

// Our weight of one shape in one scheme.
struct OurWeight {
  std::string scheme;
  std::vector<Weight> weights;  // copies of it, to rotate through
  Expected expected;
};
// CUTLASS's weight of one shape; none for a shape that it does not take.
struct CutlassWeights {
  std::vector<CutlassWeight> weights;
  Expected expected;
};

class Bench {
 public:
  explicit Bench(const GemmBench& plan);
  GemmResult run();

 private:
  void allocate();
  void measure_peaks();
  OurWeight prepare(const GemmShape& shape, const std::string& scheme);
  CutlassWeights prepare_cutlass(const GemmShape& shape);
  Expected expect(const QuantizedWeight& weight, const Buffer& token_scale);
  GemmRow measure_row(const GemmShape& shape, int64_t m, const std::vector<OurWeight>& ours,
                      const CutlassWeights& cutlass);
  std::optional<CallTime> time_dense(Inputs inputs, int64_t n, int64_t k, int64_t m);
  std::optional<CutlassTime> time_cutlass(const CutlassWeights& weights, int64_t m);
  SchemeTime time_ours(const OurWeight& ours, int64_t m);
  int fastest(int ways, const std::function<bool(int way, int call)>& start);

  Linear linear(const Weight& weight, const Buffer& token_scale, void* out, int64_t m) const;
  void poison(int64_t m, int64_t n);
  std::vector<bf16> output_row(std::string_view whose, int64_t row, int64_t n) const;
  double error_of(std::string_view whose, const Expected& expected, int64_t n, int64_t m) const;
  size_t rotated_bytes(size_t weight_bytes) const;
  bool needs_copy(size_t weight_bytes) const;

  const GemmBench& plan_;
  int64_t most_tokens_ = 0;
  std::unique_ptr<Backend> backend_ = make_cuda_backend(),
                           naive_ = make_cuda_backend(CudaKernels::kNaive);
  cuda::CublasLt cublaslt_;
  GpuMeter meter_;
  CublasOperands bf16_{.element_bytes = 2}, fp8_{.element_bytes = 1};
  Buffer token_scale_, no_scale_, out_;  // no_scale_: ones
  GemmResult report_;
};

Bench::Bench(const GemmBench& plan)
    : plan_(plan),
      cublaslt_(*backend_, cuda::stream_of(*backend_), plan.cublaslt),
      meter_(*backend_, plan.regime) {
  EMBERQ_CHECK(!plan.shapes.empty() && !plan.tokens.empty(), "a benchmark of nothing");
  most_tokens_ = *std::max_element(plan.tokens.begin(), plan.tokens.end());
}

// The bytes of all copies of a weight of this size.
size_t Bench::rotated_bytes(size_t weight_bytes) const {
  if (plan_.regime == Regime::kCold) return weight_bytes;
  const size_t places = (GpuMeter::kRotatedBytes + weight_bytes - 1) / weight_bytes;
  return places * weight_bytes;
}

// Allocates once, for the largest operands of all rows.
void Bench::allocate() {
  int64_t x = 0, out = 0;
  const auto include = [&](int64_t n, int64_t k, int64_t m) {
    const int64_t rows = round_up(m, kFp8Rows);
    x = std::max(x, rows * k), out = std::max(out, rows * n);
    for (CublasOperands* dense : {&bf16_, &fp8_}) {
      const size_t place = CublasOperands::place_bytes(size_t(n * k) * dense->element_bytes);
      dense->w_bytes = std::max(dense->w_bytes, rotated_bytes(place));
    }
  };
  for (const GemmShape& shape : plan_.shapes) include(shape.n, shape.k, most_tokens_);
  if (cublaslt_.present()) {
    include(kPeakSide, kPeakSide, kPeakSide);
    bf16_.x = random_bf16(*backend_, size_t(x));
    bf16_.w = random_bf16(*backend_, bf16_.w_bytes / 2);
    fp8_.w = random_e4m3(*backend_, fp8_.w_bytes);
  }
  fp8_.x = random_e4m3(*backend_, size_t(x));
  out_ = Buffer(*backend_, size_t(out) * sizeof(bf16));
  std::vector<float> scale;
  for (int64_t i = 0; i < most_tokens_; ++i) scale.push_back(float(8 + i % 8) / (16 * 448));
  token_scale_ = upload(*backend_, scale);
  no_scale_ = upload(*backend_, std::vector<float>(size_t(most_tokens_), 1));
}

void Bench::measure_peaks() {
  Conditions& conditions = report_.conditions;
  conditions.peaks = meter_.measure_peaks();
  const auto peak = time_dense(Inputs::kFp8, kPeakSide, kPeakSide, kPeakSide);
  if (peak) {
    const double flops = 2.0 * kPeakSide * kPeakSide * kPeakSide;
    conditions.peaks.fp8_rate = flops / (peak->seconds - conditions.peaks.fixed_seconds);
  }
  conditions.load = peak ? peak->load : meter_.load();
}

Linear Bench::linear(const Weight& weight, const Buffer& token_scale, void* out, int64_t m) const {
  return {.x = {DType::kF8E4M3, fp8_.x.as<void>(), token_scale.as<float>(), m, weight.k},
          .weight = &weight,
          .out = {DType::kBF16, out, nullptr, m, weight.n}};
}

// Whether copies of so many bytes need another one to rotate through.
bool Bench::needs_copy(size_t weight_bytes) const {
  return plan_.regime == Regime::kContinuous && weight_bytes < GpuMeter::kRotatedBytes;
}

// The naive kernel is slow, so it computes some outputs only, for all tokens at once. A row does
// not depend on the number of tokens.
Expected Bench::expect(const QuantizedWeight& weight, const Buffer& token_scale) {
  Expected expected{.outputs = spread_over(weight.n, kComparedOutputs)};
  const Weight some = naive_->prepare(rows_of(weight, expected.outputs));
  expected.values.resize(size_t(most_tokens_) * expected.outputs.size());
  const size_t bytes = expected.values.size() * sizeof(bf16);
  const Buffer out(*naive_, bytes);
  naive_->run(linear(some, token_scale, out.as<void>(), most_tokens_));
  naive_->download(expected.values.data(), out.as<void>(), bytes);
  naive_->synchronize();
  return expected;
}

OurWeight Bench::prepare(const GemmShape& shape, const std::string& scheme) {
  const QuantizedWeight weight = random_weight(shape.n, shape.k, *weight_scheme_from_name(scheme));
  OurWeight ours{.scheme = scheme, .expected = expect(weight, token_scale_)};
  size_t bytes = 0;
  do {
    ours.weights.push_back(backend_->prepare(weight));
    bytes += ours.weights.back().bytes;
  } while (needs_copy(bytes));
  return ours;
}

// The codes of int4-g128, with the e4m3 products of CUTLASS.
CutlassWeights Bench::prepare_cutlass(const GemmShape& shape) {
  if (report_.cutlass.empty()) return {};
  if (shape.n % CutlassProduct::kOutputs != 0 || shape.k % CutlassProduct::kInputs != 0) {
    report_.notes.push_back(
        fmt::format("CUTLASS has no product of {} x {}: outputs come by the {}, inputs by the {}",
                    shape.n, shape.k, CutlassProduct::kOutputs, CutlassProduct::kInputs));
    return {};
  }
  const QuantizedWeight weight =
      random_weight(shape.n, shape.k, *weight_scheme_from_name("int4-g128-e4m3"));
  CutlassWeights cutlass{.expected = expect(weight, no_scale_)};
  size_t bytes = 0;
  do {
    cutlass.weights.push_back(cutlass_weight(*backend_, weight));
    bytes += cutlass.weights.back().bytes;
  } while (needs_copy(bytes));
  return cutlass;
}

// Fills the output with NaN, so that elements that are not written are found.
void Bench::poison(int64_t m, int64_t n) {
  CUDA_CHECK(cudaMemsetAsync(out_.as<void>(), 0xff, size_t(m * n) * sizeof(bf16),
                             cuda::stream_of(*backend_)));
}

std::vector<bf16> Bench::output_row(std::string_view whose, int64_t row, int64_t n) const {
  std::vector<bf16> values(static_cast<size_t>(n));
  backend_->download(values.data(), out_.as<bf16>() + row * n, values.size() * sizeof(bf16));
  backend_->synchronize();
  for (const bf16 value : values)
    EMBERQ_CHECK(std::isfinite(value.to_float()),
                 "bench gemm: row {} of the output of {} is not finite, or was not all written",
                 row, whose);
  return values;
}

// The RMS of the difference from the expected outputs, relative to their RMS.
double Bench::error_of(std::string_view whose, const Expected& expected, int64_t n,
                       int64_t m) const {
  double error = 0, power = 0;
  for (const int64_t token : spread_over(m, kComparedTokens)) {
    const std::vector<bf16> row = output_row(whose, token, n);
    const bf16* values = expected.values.data() + token * int64_t(expected.outputs.size());
    for (size_t i = 0; i < expected.outputs.size(); ++i) {
      const double is = double(row[size_t(expected.outputs[i])].to_float()),
                   must_be = double(values[i].to_float());
      error += (is - must_be) * (is - must_be), power += must_be * must_be;
    }
  }
  return std::sqrt(error / power);
}

SchemeTime Bench::time_ours(const OurWeight& ours, int64_t m) {
  const Weight& first = ours.weights.front();
  poison(m, first.n);
  backend_->run(linear(first, token_scale_, out_.as<void>(), m));
  const double error = error_of(ours.scheme, ours.expected, first.n, m);
  EMBERQ_CHECK(error < kLargestError,  // false for a NaN
               "bench gemm: {} weights of {} x {} times {} tokens: the output differs from the "
               "naive kernel's by {:.3g} of its RMS",
               ours.scheme, first.n, first.k, m, error);
  const auto call = [&](int i) {
    const Weight& weight = ours.weights[size_t(i) % ours.weights.size()];
    backend_->run(linear(weight, token_scale_, out_.as<void>(), m));
  };
  return {.scheme = ours.scheme,
          .time = meter_.time(call),
          .cost = cost(linear(first, token_scale_, out_.as<void>(), m)),
          .error = error};
}

// The fastest of several ways to make a call, by a short trial; -1 if none runs.
int Bench::fastest(int ways, const std::function<bool(int way, int call)>& start) {
  int best = -1;
  double best_seconds = 0;
  for (int way = 0; way < ways; ++way) {
    if (!start(way, 0)) continue;
    const auto call = [&](int i) { start(way, i); };
    const double seconds = summary(meter_.seconds(call, kTrialRepeats)).seconds;
    if (best < 0 || seconds < best_seconds) best = way, best_seconds = seconds;
  }
  return best;
}

std::optional<CallTime> Bench::time_dense(Inputs inputs, int64_t n, int64_t k, int64_t m) {
  if (!cublaslt_.present()) return std::nullopt;
  const CublasOperands& dense = inputs == Inputs::kFp8 ? fp8_ : bf16_;
  const int64_t rows = inputs == Inputs::kFp8 ? round_up(m, kFp8Rows) : m;
  cuda::CublasLtProduct product(cublaslt_, {.inputs = inputs, .n = n, .k = k, .m = rows});
  const auto start = [&](int algorithm, int call) {
    return product.run(algorithm, dense.x.as<void>(), dense.weight(call, n, k), out_.as<void>());
  };
  const int best = fastest(product.algorithms(), start);
  if (best < 0) {
    report_.notes.push_back(fmt::format("cuBLASLt has no {} product of {} x {} for {} tokens",
                                        inputs == Inputs::kFp8 ? "FP8" : "BF16", n, k, m));
    return std::nullopt;
  }
  const auto call = [&](int i) {
    EMBERQ_CHECK(start(best, i), "cuBLASLt runs algorithm {} once, not again", best);
  };
  poison(rows, n);
  call(0);
  for (const int64_t token : spread_over(rows, kComparedTokens)) output_row("cuBLASLt", token, n);
  return meter_.time(call);
}

// CUTLASS's sums have 14 bits from the first input to the last, so each k-step of 32 may lose 2^-13
// of the sum. Most losses cancel. A wrong order or scale gives an error near 1.
std::optional<CutlassTime> Bench::time_cutlass(const CutlassWeights& weights, int64_t m) {
  if (weights.weights.empty()) return std::nullopt;
  const int64_t n = weights.weights.front().n, k = weights.weights.front().k;
  const CutlassProduct product(*backend_, n, k, m);
  const auto start = [&](int variant, int call) {
    const CutlassWeight& weight = weights.weights[size_t(call) % weights.weights.size()];
    return product.run(variant, fp8_.x.as<void>(), weight, out_.as<void>());
  };
  const int best = fastest(CutlassProduct::variants(), start);
  EMBERQ_CHECK(best >= 0, "CUTLASS does not multiply {} x {} by {} tokens", n, k, m);
  const std::string tile = CutlassProduct::name(best);
  const auto call = [&](int i) {
    EMBERQ_CHECK(start(best, i), "CUTLASS runs tile {} once, not again", tile);
  };
  poison(m, n);
  call(0);
  const double error = error_of("CUTLASS by tile " + tile, weights.expected, n, m);
  const double largest = std::min(kLargestError + double(k / 32) * 0x1p-13, 0.1);
  EMBERQ_CHECK(error < largest,  // false for a NaN
               "bench gemm: CUTLASS's {} x {} times {} tokens by tile {}: the output differs from "
               "the naive kernel's by {:.3g} of its RMS",
               n, k, m, tile, error);
  return CutlassTime{.tile = tile, .time = meter_.time(call), .error = error};
}

GemmRow Bench::measure_row(const GemmShape& shape, int64_t m, const std::vector<OurWeight>& ours,
                           const CutlassWeights& cutlass) {
  GemmRow row{.shape = shape,
              .m = m,
              .bf16 = time_dense(Inputs::kBf16, shape.n, shape.k, m),
              .fp8 = time_dense(Inputs::kFp8, shape.n, shape.k, m),
              .cutlass = time_cutlass(cutlass, m)};
  for (const OurWeight& one : ours) row.schemes.push_back(time_ours(one, m));
  return row;
}

GemmResult Bench::run() {
  report_.conditions = meter_.conditions();
  if (cublaslt_.present())
    report_.cublaslt = cublaslt_.version();
  else
    report_.notes.push_back(
        fmt::format("no cuBLASLt to compare with ({}); --cublaslt or EMBERQ_CUBLASLT can name it",
                    cublaslt_.why_not()));
  report_.cutlass = cutlass_version();
  allocate();
  measure_peaks();
  Progress progress("bench", int64_t(plan_.shapes.size() * plan_.tokens.size()));
  for (const GemmShape& shape : plan_.shapes) {
    std::vector<OurWeight> ours;
    for (const std::string& scheme : plan_.schemes) ours.push_back(prepare(shape, scheme));
    const CutlassWeights cutlass = prepare_cutlass(shape);
    for (const int64_t m : plan_.tokens) {
      report_.rows.push_back(measure_row(shape, m, ours, cutlass));
      progress.step(fmt::format("{} x {}, {} tokens", shape.n, shape.k, m));
    }
  }
  return std::move(report_);
}

}  // namespace

GemmResult run_gemm_bench(const GemmBench& bench) { return Bench(bench).run(); }

}  // namespace emberq::bench
