#pragma once

#include <array>
#include <vector>

#include "checkpoint/checkpoint.h"
#include "model/block.h"

namespace emberq {

// A linear's weight and bias in double, as the merges see them.
struct DenseLinear {
  int64_t n = 0, k = 0;
  std::vector<double> weight;  // [n, k]
  std::vector<double> bias;    // [n], or empty

  double* row(int64_t i) { return weight.data() + i * k; }
  const double* row(int64_t i) const { return weight.data() + i * k; }

  void scale_output(int64_t i, double factor);  // row i, and its bias
  void scale_input(int64_t j, double factor);   // column j
};

// One block's parameters in double: read from a checkpoint, transformed, then rounded.
struct DenseBlock {
  std::vector<double> input_layernorm, post_attention_layernorm;  // [hidden]
  std::vector<double> q_norm, k_norm;                             // [head_dim], or empty
  std::array<DenseLinear, kModules.size()> linears;               // by Module

  DenseLinear& operator[](Module module) { return linears[size_t(module)]; }
  const DenseLinear& operator[](Module module) const { return linears[size_t(module)]; }
};

DenseBlock read_block(const Checkpoint& checkpoint, int64_t layer);

}  // namespace emberq
