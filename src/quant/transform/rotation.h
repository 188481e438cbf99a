#pragma once

#include <vector>

#include "quant/layer/f64_layer.h"

// Orthogonal changes of basis that leave what a model computes (QuaRot, 2404.00456): they spread
// what is large in a few channels over all of them.
namespace emberq {

// Q = D (C ⊗ H): signs D, drawn from a fixed seed; H the Hadamard matrix of the largest power of
// two that divides n (format/hadamard.h); C the orthonormal DCT-II of the odd rest. n × n,
// row-major.
std::vector<double> rotation_matrix(int64_t n);

// The residual stream in the basis of Q [hidden, hidden]: norms' weights go into the linears that
// read them, which become W Q; o_proj and down_proj write Q^T W, with their biases.
void rotate_residual(F64Layer& block, const std::vector<double>& rotation);
// The embedding table [vocab, hidden], E Q, and the output head, W diag(norm) Q.
void rotate_columns(std::vector<double>& matrix, int64_t rows, const std::vector<double>& rotation,
                    const std::vector<double>& norm = {});

// V of each KV head in the basis of its Hadamard transform, undone in o_proj's columns.
void rotate_values(F64Layer& block, const ModelConfig& config);

// down_proj W H for its input in blocks of `size`, a power of two, that go through the transform
// when the model runs (EmberqConfig::down_hadamard).
void rotate_down_inputs(F64Layer& block, int64_t size);

// The largest power of two that divides n, at most `largest`.
int64_t hadamard_block(int64_t n, int64_t largest);

}  // namespace emberq
