#pragma once

#include <span>
#include <string_view>
#include <vector>

#include "eval/perplexity.h"
#include "tensor/matrix.h"

namespace emberq {

// KL(P || Q) = sum_c p_c (log p_c - log q_c) in nats, P = softmax(reference row), Q = softmax(row),
// of each pair of rows: [rows]. In double, with each row's maximum taken out first; 0 where the
// logits are the same, never below. Both are [rows, vocab].
std::vector<double> kl_divergence(Matrix<const float> reference, Matrix<const float> logits);

// How far a model's next-token distributions are from a reference's (A), over all predicted
// positions of perplexity()'s windows.
struct Divergence {
  double kl = 0;                      // mean of KL(A || B), nats per token
  double kl_p99 = 0;                  // the smallest value that 99 % of the positions do not exceed
  double kl_max = 0;                  // of one position
  double top1_agreement = 0;          // share of positions where the most likely token is the same
  double reference_ppl = 0, ppl = 0;  // of both models
  int64_t windows = 0, seq_len = 0, predicted_tokens = 0;
  double seconds = 0;
};

// InputError as perplexity(), and where the vocabularies have different sizes. Of each model at
// most kLogitRows rows of logits are held at a time.
Divergence divergence(Model& reference, Model& model, std::span<const int> ids,
                      const PerplexityOptions& options);

// A reference's logits in memory, to hold many models against it: 4 bytes for each predicted
// position and token of the vocabulary.
struct ReferenceLogits {
  std::vector<int> ids;  // whole windows
  int64_t window = 0;    // tokens
  int64_t vocab = 0;
  std::vector<float> logits;  // [windows, window - 1, vocab]
};
ReferenceLogits reference_logits(Model& reference, std::span<const int> ids,
                                 const PerplexityOptions& options);
// The same as with the reference itself. `label` is what the line of progress says.
Divergence divergence(const ReferenceLogits& reference, Model& model,
                      std::string_view label = "compare");

}  // namespace emberq
