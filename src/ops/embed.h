#pragma once

#include "ops/activations.h"
#include "ops/cost.h"
#include "ops/weight.h"

namespace emberq {

// out[t, :] = table[ids[t], :]
struct Embed {
  const Weight* table = nullptr;  // [vocabulary, dim], not quantized
  const int32_t* ids = nullptr;   // [tokens], on the backend
  Activations out;                // [tokens, dim]
};
// Whoever uploads ids checks them, and can say what they are of (model/token_ids.h). An id outside
// the table still never reads past it: the CPU backend throws an Error with it, a CUDA kernel ends
// with an error of the device.

void check(const Embed& op);
Cost cost(const Embed& op);

}  // namespace emberq
