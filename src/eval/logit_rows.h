#pragma once

#include <span>

#include "model/model.h"
#include "tensor/matrix.h"

namespace emberq {

// How many rows of logits a measure holds at a time: the head is read once for all of them, and a
// window of a large vocabulary does not fit into memory.
inline constexpr int64_t kLogitRows = 256;

// Logits of a few hidden states at a time, in memory that is used again.
class LogitRows {
 public:
  explicit LogitRows(Model& model, int64_t rows = kLogitRows);  // at most so many at a time

  int64_t capacity() const { return capacity_; }
  // F32 [rows, vocab] of hidden states, [rows, hidden], on the backend or on the host; valid until
  // the next call of either.
  Activations on_backend(const Activations& hidden);
  Matrix<const float> on_host(const Activations& hidden);

 private:
  Model* model_;
  int64_t capacity_;
  Buffer logits_;
  std::vector<float> host_;
};

// log(softmax(logits)[id]), in double, with the maximum taken out first.
double log_probability(std::span<const float> logits, int id);
// The id of the largest logit, the first of equals.
int top_id(std::span<const float> logits);

}  // namespace emberq
