#pragma once

#include "ops/activations.h"
#include "ops/cost.h"
#include "ops/weight.h"

namespace emberq {

// out[t, :] = table[ids[t], :]
struct Embed {
  const Weight* table = nullptr;  // [vocabulary, dim], not quantized
  const int32_t* ids = nullptr;   // [tokens], on the backend; in range (the model checks)
  Activations out;                // [tokens, dim]
};

void check(const Embed& op);
Cost cost(const Embed& op);

}  // namespace emberq
