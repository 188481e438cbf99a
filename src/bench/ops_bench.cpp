#include "bench/ops_bench.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/check.h"
#include "bench/operands.h"

namespace emberq::bench {
namespace {

// Rows of a matrix at a place in memory that moves on with the call.
class RotatingRows {
 public:
  RotatingRows(std::byte* memory, size_t memory_bytes, const Activations& rows)
      : memory_(memory),
        rows_(rows),
        bytes_(size_t(rows.rows * rows.dim) * size_bytes(rows.dtype)) {
    places_ = memory_bytes / bytes_;
  }
  Activations operator()(int call) const {
    Activations rows = rows_;
    rows.data = memory_ + size_t(call) % places_ * bytes_;
    return rows;
  }

 private:
  std::byte* memory_;
  Activations rows_;
  size_t bytes_, places_ = 0;
};

enum class Addend { kNone, kResidual };
enum class Inputs { kApart, kInterleaved };

class OpsRun {
 public:
  OpsRun(Meter& meter, const OpsBench& plan);
  OpsResult run();

 private:
  void rms_norm(int64_t rows, int64_t columns, DType type, Addend addend);
  void per_token_quantize(int64_t rows, int64_t columns);
  void silu_and_mul(int64_t rows, DType type, Inputs inputs, int64_t hadamard);

  RotatingRows input(int64_t rows, int64_t columns) const {
    return {inputs_.as<std::byte>(), bytes_, {own_, nullptr, nullptr, rows, columns}};
  }
  RotatingRows output(const Buffer& memory, DType type, int64_t rows, int64_t columns) const {
    float* scale = type == own_ ? nullptr : scale_.as<float>();
    return {memory.as<std::byte>(), bytes_, {type, nullptr, scale, rows, columns}};
  }
  // op(i) is the operation on the operands of call i.
  template <class Op>
  void measure(std::string operation, std::string variant, int64_t rows, int64_t columns,
               const Op& op) {
    const auto call = [&](int i) { backend_.run(op(i)); };
    call(0);
    result_.rows.push_back({std::move(operation), std::move(variant), rows, columns, cost(op(0)),
                            meter_.time(call, plan_.repeats)});
  }

  Meter& meter_;
  Backend& backend_;
  const OpsBench& plan_;
  DType own_;
  size_t bytes_ = 0;  // of the memory that operands of one kind take turns in
  Buffer inputs_, outputs_, sums_, scale_, weight_;
  OpsResult result_;
};

OpsRun::OpsRun(Meter& meter, const OpsBench& plan)
    : meter_(meter), backend_(meter.backend()), plan_(plan), own_(backend_.activation_type()) {
  EMBERQ_CHECK(!plan.rows.empty(), "a benchmark of nothing");
  const int64_t most_rows = *std::max_element(plan.rows.begin(), plan.rows.end());
  const int64_t most_columns = 2 * std::max(plan.hidden, plan.intermediate);
  bytes_ = std::max(plan.rotated_bytes, 2 * size_t(most_rows * most_columns) * size_bytes(own_));
  inputs_ = random_activations(backend_, bytes_);
  outputs_ = Buffer(backend_, bytes_);
  sums_ = Buffer(backend_, bytes_);
  scale_ = Buffer(backend_, size_t(most_rows) * sizeof(float));
  weight_ = upload(backend_, std::vector<float>(size_t(2 * plan.hidden), 1.0f));
}

void OpsRun::rms_norm(int64_t rows, int64_t columns, DType type, Addend addend) {
  const RotatingRows x = input(rows, columns), out = output(outputs_, type, rows, columns),
                     sum = output(sums_, own_, rows, columns);
  const auto op = [&](int call) {
    RmsNorm norm{.weight = weight_.as<float>(), .out = out(call)};
    if (addend == Addend::kNone) {
      norm.x = x(call);
    } else {
      norm.x = x(2 * call);
      norm.addend = x(2 * call + 1);
      norm.sum = sum(call);
    }
    return norm;
  };
  measure("rms_norm",
          fmt::format("{}{}", name(type), addend == Addend::kResidual ? " of a sum" : ""), rows,
          columns, op);
}

void OpsRun::per_token_quantize(int64_t rows, int64_t columns) {
  const RotatingRows x = input(rows, columns),
                     out = output(outputs_, DType::kF8E4M3, rows, columns);
  measure("per_token_quantize", std::string(name(DType::kF8E4M3)), rows, columns,
          [&](int call) { return PerTokenQuantize{.x = x(call), .out = out(call)}; });
}

void OpsRun::silu_and_mul(int64_t rows, DType type, Inputs inputs, int64_t hadamard) {
  const int64_t columns = plan_.intermediate;
  const bool interleaved = inputs == Inputs::kInterleaved;
  const RotatingRows x = input(rows, interleaved ? 2 * columns : columns),
                     out = output(outputs_, type, rows, columns);
  const auto op = [&](int call) {
    SiluAndMul product{.out = out(call), .hadamard = hadamard};
    if (interleaved) {
      product.gate = x(call);
    } else {
      product.gate = x(2 * call);
      product.up = x(2 * call + 1);
    }
    return product;
  };
  measure("silu_and_mul",
          fmt::format("{}{}{}", name(type), interleaved ? " interleaved" : "",
                      hadamard ? fmt::format(" hadamard {}", hadamard) : ""),
          rows, columns, op);
}

// What stands between the products of a block; a norm of twice the columns is of a larger model.
OpsResult OpsRun::run() {
  result_.conditions = meter_.conditions();
  result_.conditions.repeats = plan_.repeats;
  result_.conditions.rotated_bytes = int64_t(bytes_);
  result_.conditions.peaks = meter_.measure_peaks();
  result_.conditions.load = meter_.load();
  constexpr DType kCodes = DType::kF8E4M3;
  for (const int64_t rows : plan_.rows) {
    for (const int64_t columns : {plan_.hidden, 2 * plan_.hidden})
      for (const DType type : {own_, kCodes}) rms_norm(rows, columns, type, Addend::kNone);
    for (const DType type : {own_, kCodes}) rms_norm(rows, plan_.hidden, type, Addend::kResidual);
    per_token_quantize(rows, plan_.hidden);
    per_token_quantize(rows, plan_.intermediate);
    silu_and_mul(rows, own_, Inputs::kApart, 0);
    for (const Inputs inputs : {Inputs::kApart, Inputs::kInterleaved})
      for (const int64_t hadamard : {0, 512}) silu_and_mul(rows, kCodes, inputs, hadamard);
  }
  return std::move(result_);
}

}  // namespace

OpsResult run_ops_bench(Meter& meter, const OpsBench& bench) { return OpsRun(meter, bench).run(); }

}  // namespace emberq::bench
