#pragma once

#include "ops/activations.h"
#include "ops/cost.h"

namespace emberq {

// ids[r] = the column of the largest logits[r, c]; of equals the smallest. -1 for a row with NaN.
struct Argmax {
  Activations logits;      // [rows, vocabulary] F32
  int32_t* ids = nullptr;  // [rows], on the backend
};

void check(const Argmax& op);
Cost cost(const Argmax& op);

}  // namespace emberq
