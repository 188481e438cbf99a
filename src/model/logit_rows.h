#pragma once

#include <span>
#include <vector>

#include "model/model.h"
#include "tensor/matrix.h"

namespace emberq {

// How many rows of logits a measure holds at a time: the head is read once for all of them, and a
// window of a large vocabulary does not fit into memory.
inline constexpr int64_t kLogitRows = 256;

// Logits of a few hidden states at a time, in memory that is used again. All are F32 [rows, vocab]
// and valid until the next call.
class LogitRows {
 public:
  explicit LogitRows(Model& model, int64_t rows = kLogitRows);  // at most so many at a time

  int64_t capacity() const { return capacity_; }
  // Of all rows of hidden states, [rows, hidden].
  Activations on_backend(const Activations& hidden);
  Matrix<const float> on_host(const Activations& hidden);
  // Of the rows of hidden states that have these numbers, for example the last of each sequence of
  // a batch.
  Activations on_backend(const Activations& hidden, std::span<const int32_t> rows);
  Matrix<const float> on_host(const Activations& hidden, std::span<const int32_t> rows);

 private:
  Activations memory(int64_t rows) const;
  Matrix<const float> download(const Activations& logits);

  Model* model_;
  int64_t capacity_;
  Buffer logits_, rows_;
  std::vector<float> host_;
};

}  // namespace emberq
