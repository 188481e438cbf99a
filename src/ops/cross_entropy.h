#pragma once

#include "ops/activations.h"
#include "ops/cost.h"

namespace emberq {

// nll[r] = log(sum_c exp(logits[r, c])) - logits[r, targets[r]], with the maximum taken out first.
struct CrossEntropy {
  Activations logits;                // [rows, vocabulary], not quantized
  const int32_t* targets = nullptr;  // [rows], on the backend
  float* nll = nullptr;              // [rows], on the backend
};

void check(const CrossEntropy& op);
Cost cost(const CrossEntropy& op);

}  // namespace emberq
