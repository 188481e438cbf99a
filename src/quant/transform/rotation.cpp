#include "quant/transform/rotation.h"

#include <cmath>
#include <numbers>
#include <random>

#include "base/check.h"
#include "base/parallel.h"
#include "format/hadamard.h"
#include "quant/rounding/linear_algebra.h"

namespace emberq {
namespace {

// Row i, entry j of the orthonormal DCT-II.
double dct(int64_t i, int64_t j, int64_t n) {
  const double scale = std::sqrt((i == 0 ? 1.0 : 2.0) / double(n));
  return scale * std::cos(std::numbers::pi * (double(j) + 0.5) * double(i) / double(n));
}

void scale_columns(std::vector<double>& matrix, int64_t rows, const std::vector<double>& factor) {
  const auto columns = int64_t(factor.size());
  parallel_for(0, rows, [&](int64_t i) {
    for (int64_t j = 0; j < columns; ++j) matrix[size_t(i * columns + j)] *= factor[size_t(j)];
  });
}

// Q^T W for W [n, k], and Q^T b.
void rotate_outputs(F64Linear& linear, const std::vector<double>& rotation) {
  const int64_t n = linear.n;
  std::vector<double> transposed(rotation.size());
  for (int64_t i = 0; i < n; ++i)
    for (int64_t j = 0; j < n; ++j) transposed[size_t(i * n + j)] = rotation[size_t(j * n + i)];
  linear.weight = product(transposed.data(), linear.weight.data(), n, linear.k, n);
  if (!linear.bias.empty()) linear.bias = product(transposed.data(), linear.bias.data(), n, 1, n);
}

}  // namespace

int64_t hadamard_block(int64_t n, int64_t largest) {
  int64_t size = 1;
  while (n % (2 * size) == 0 && 2 * size <= largest) size *= 2;
  return size;
}

std::vector<double> rotation_matrix(int64_t n) {
  const int64_t size = hadamard_block(n, n), rest = n / size;
  std::mt19937_64 random(20404);  // any seed does: signs break what structure H and weights share
  std::vector<double> matrix(size_t(n * n));
  for (int64_t i = 0; i < n; ++i) {
    const double sign = random() >> 63 ? -1 : 1;
    for (int64_t c = 0; c < rest; ++c) {
      double* block = matrix.data() + i * n + c * size;
      block[i % size] = sign * dct(i / size, c, rest);
      hadamard(block, size);
    }
  }
  return matrix;
}

void rotate_columns(std::vector<double>& matrix, int64_t rows, const std::vector<double>& rotation,
                    const std::vector<double>& norm) {
  const auto hidden = int64_t(std::llround(std::sqrt(double(rotation.size()))));
  if (!norm.empty()) scale_columns(matrix, rows, norm);
  matrix = product(matrix.data(), rotation.data(), rows, hidden, hidden);
}

void rotate_residual(F64Layer& block, const std::vector<double>& rotation) {
  for (const Projection module : {Projection::kQ, Projection::kK, Projection::kV})
    rotate_columns(block[module].weight, block[module].n, rotation, block.input_layernorm);
  for (const Projection module : {Projection::kGate, Projection::kUp})
    rotate_columns(block[module].weight, block[module].n, rotation, block.post_attention_layernorm);
  for (auto* norm : {&block.input_layernorm, &block.post_attention_layernorm})
    norm->assign(norm->size(), 1.0);
  for (const Projection module : {Projection::kO, Projection::kDown})
    rotate_outputs(block[module], rotation);
}

void rotate_values(F64Layer& block, const ModelConfig& config) {
  const int64_t d = config.head_dim;
  const Hadamard transform(d);
  F64Linear &v = block[Projection::kV], &o = block[Projection::kO];
  for (int64_t head = 0; head < config.num_kv_heads; ++head) {
    std::vector<double> column(static_cast<size_t>(d));
    for (int64_t j = 0; j < v.k; ++j) {
      for (int64_t c = 0; c < d; ++c) column[size_t(c)] = v.row(head * d + c)[j];
      transform(column.data());
      for (int64_t c = 0; c < d; ++c) v.row(head * d + c)[j] = column[size_t(c)];
    }
    if (!v.bias.empty()) transform(v.bias.data() + head * d);
  }
  parallel_for(0, o.n, [&](int64_t i) {
    for (int64_t head = 0; head < config.num_heads; ++head) transform(o.row(i) + head * d);
  });
}

void rotate_down_inputs(F64Layer& block, int64_t size) {
  F64Linear& down = block[Projection::kDown];
  EMBERQ_CHECK(is_power_of_two(size) && down.k % size == 0,
               "rotate_down_inputs: {} in blocks of {}", down.k, size);
  parallel_for(0, down.n, [&](int64_t i) {
    for (int64_t j = 0; j < down.k; j += size) hadamard(down.row(i) + j, size);
  });
}

}  // namespace emberq
