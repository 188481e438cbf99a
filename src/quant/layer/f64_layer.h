#pragma once

#include <array>
#include <vector>

#include "checkpoint/checkpoint.h"
#include "model/decoder_layer.h"

namespace emberq {

// A linear's weight and bias in double, as the merges see them.
struct F64Linear {
  int64_t n = 0, k = 0;
  std::vector<double> weight;  // [n, k]
  std::vector<double> bias;    // [n], or empty

  double* row(int64_t i) { return weight.data() + i * k; }
  const double* row(int64_t i) const { return weight.data() + i * k; }

  void scale_output(int64_t i, double factor);  // row i, and its bias
  void scale_input(int64_t j, double factor);   // column j
};

// One block's parameters in double: read from a checkpoint, transformed, then rounded.
struct F64Layer {
  std::vector<double> input_layernorm, post_attention_layernorm;  // [hidden]
  std::vector<double> q_norm, k_norm;                             // [head_dim], or empty
  std::array<F64Linear, kProjections.size()> linears;             // by Projection

  F64Linear& operator[](Projection module) { return linears[size_t(module)]; }
  const F64Linear& operator[](Projection module) const { return linears[size_t(module)]; }
};

F64Layer read_block(const Checkpoint& checkpoint, int64_t layer);

}  // namespace emberq
