#include <algorithm>
#include <vector>

#include "base/parallel.h"
#include "ops/cpu/cpu_backend.h"
#include "ops/cpu/cpu_weight.h"
#include "ops/cpu/row_quantizer.h"
#include "ops/cpu/sgemm.h"

namespace emberq::cpu {
namespace {

// Up to this many rows, weights are read as stored and multiplied on the way; above, they are
// decoded once into floats for the BLAS.
constexpr int64_t kFewRows = 4;
bool is_few(const Linear& op) { return op.out.rows <= kFewRows; }

// Floats of decoded weights and of products that are held at a time.
constexpr int64_t kScratchFloats = int64_t(8) << 20;

// A scale for each row of the product, or null. Scales of groups are in the operand already.
const float* row_scales(const Activations& x) { return x.group ? nullptr : x.scale; }

// x without its row_scales(): the floats themselves, or codes decoded into `scratch`.
const float* without_row_scales(const Activations& x, std::vector<float>& scratch) {
  if (!x.quantized()) return x.f32().data;
  scratch.resize(size_t(x.rows * x.dim));
  parallel_for(0, x.rows,
               [&](int64_t r) { load_row(x, r, x.group > 0, scratch.data() + r * x.dim); });
  return scratch.data();
}

void few_rows(const Linear& op, const CpuWeight& weight, const float* x) {
  const Matrix<float> out = op.out.f32();
  const float* scales = row_scales(op.x);
  // Rows of a task: some 30 us of work, which is worth waking a thread for.
  const int64_t rows = std::max<int64_t>(16, (int64_t(1) << 18) / (weight.k * out.rows));
  parallel_for(0, (weight.n + rows - 1) / rows, [&](int64_t block) {
    const int64_t end = std::min(weight.n, (block + 1) * rows);
    for (int64_t n = block * rows; n < end; ++n)
      for (int64_t m = 0; m < out.rows; ++m) {
        float sum = dot_row(weight, n, x + m * weight.k);
        if (scales) sum *= scales[m];
        if (op.bias) sum += op.bias[n];
        if (op.residual) sum += op.residual.f32().row(m)[n];
        out.row(m)[n] = sum;
      }
  });
}

// out[m, first + i] = sums[m, i] with the row scale, bias and residual that `op` has.
void finish_rows(const Linear& op, const float* sums, int64_t first, int64_t count) {
  const Matrix<float> out = op.out.f32();
  const float* scales = row_scales(op.x);
  parallel_for(0, out.rows, [&](int64_t m) {
    const float scale = scales ? scales[m] : 1.0f;
    const float *from = sums + m * count, *bias = op.bias ? op.bias + first : nullptr,
                *residual = op.residual ? op.residual.f32().row(m) + first : nullptr;
    float* to = out.row(m) + first;
    if (bias && residual)
      for (int64_t i = 0; i < count; ++i) to[i] = from[i] * scale + bias[i] + residual[i];
    else if (const float* addend = bias ? bias : residual)
      for (int64_t i = 0; i < count; ++i) to[i] = from[i] * scale + addend[i];
    else
      for (int64_t i = 0; i < count; ++i) to[i] = from[i] * scale;
  });
}

void many_rows(const Linear& op, const CpuWeight& weight, const float* x) {
  const Matrix<float> out = op.out.f32();
  const bool finished =
      row_scales(op.x) || op.bias || op.residual;  // else the BLAS writes out itself
  const int64_t chunk =
      std::clamp(kScratchFloats / std::max(weight.k, out.rows), int64_t(1), weight.n);
  thread_local std::vector<float> decoded, product;
  decoded.resize(size_t(chunk * weight.k));
  if (finished) product.resize(size_t(out.rows * chunk));
  for (int64_t first = 0; first < weight.n; first += chunk) {
    const int64_t count = std::min(chunk, weight.n - first);
    decode_rows(weight, first, count, decoded.data());
    sgemm({.m = out.rows,
           .n = count,
           .k = weight.k,
           .a = x,
           .a_stride = weight.k,
           .b = decoded.data(),
           .b_stride = weight.k,
           .op_b = Op::kTranspose,
           .c = finished ? product.data() : out.data + first,
           .c_stride = finished ? count : out.cols});
    if (finished) finish_rows(op, product.data(), first, count);
  }
}

// The chosen rows of x, one after another.
struct ChosenRows {
  std::vector<std::byte> data;
  std::vector<float> scales;

  Activations copy(const Activations& x, const int32_t* rows, int64_t count) {
    const size_t bytes = size_t(x.dim) * size_bytes(x.dtype), per_row = size_t(x.scales_per_row());
    data.resize(size_t(count) * bytes);
    if (x.quantized()) scales.resize(size_t(count) * per_row);
    for (int64_t m = 0; m < count; ++m) {
      std::copy_n(static_cast<const std::byte*>(x.data) + size_t(rows[m]) * bytes, bytes,
                  data.data() + size_t(m) * bytes);
      if (x.quantized())
        std::copy_n(x.scales(rows[m]), per_row, scales.data() + size_t(m) * per_row);
    }
    Activations chosen = x;
    chosen.data = data.data();
    chosen.scale = x.quantized() ? scales.data() : nullptr;
    chosen.rows = count;
    return chosen;
  }
};

}  // namespace

KernelChoice linear_choice(const Linear& op) {
  const auto& form = cpu_weight(*op.weight).form;
  const bool dense = std::holds_alternative<UnquantizedWeight>(form);
  if (!is_few(op)) return {.kernel = dense ? "sgemm" : "decode + sgemm"};
  return {.kernel = std::holds_alternative<Int4Weight>(form) ? "int4 dot"
                    : dense                                  ? "dot"
                                                             : "decode + dot"};
}

void linear(const Linear& op) {
  const CpuWeight& weight = cpu_weight(*op.weight);
  if (op.rows) {
    thread_local ChosenRows chosen;
    Linear dense = op;
    dense.x = chosen.copy(op.x, op.rows, op.out.rows);
    dense.rows = nullptr;
    return linear(dense);
  }
  thread_local std::vector<float> scratch;
  const float* x = without_row_scales(op.x, scratch);
  if (is_few(op))
    few_rows(op, weight, x);
  else
    many_rows(op, weight, x);
}

}  // namespace emberq::cpu
