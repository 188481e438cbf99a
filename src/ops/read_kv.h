#pragma once

#include "ops/batch.h"
#include "ops/cost.h"

namespace emberq {

// What the cache holds of each sequence, as numbers: codes times scales. Positions past a
// sequence's last are left as they are.
struct ReadKv {
  Batch batch;
  KvLayer cache;
  int64_t length = 0;      // at least every sequence's
  float* key = nullptr;    // [sequences, kv_heads, length, head_dim]
  float* value = nullptr;  // of the same shape
};

void check(const ReadKv& op);
Cost cost(const ReadKv& op);

}  // namespace emberq
