#pragma once

#include <vector>

#include "model/logit_rows.h"

namespace emberq::test {

// Logits [rows, vocab] of hidden states.
inline std::vector<float> logits_of(Model& model, const Activations& hidden) {
  LogitRows rows(model, hidden.rows);
  const Matrix<const float> logits = rows.on_host(hidden);
  return {logits.data, logits.data + logits.rows * logits.cols};
}

}  // namespace emberq::test
