#pragma once

#include "ops/activations.h"
#include "ops/cost.h"

namespace emberq {

// Numbers begin ... end - 1 of Sample::listed.
struct ListedIds {
  int32_t begin = 0, end = 0;
};

// How one row's id is chosen.
struct SampleRow {
  double repetition_penalty = 1;  // 1: none
  double temperature = 1;
  double top_p = 1;    // 1: all
  double min_p = 0;    // 0: all
  double drawn = 0;    // in [0, 1), by chance
  int32_t top_k = 0;   // 0: all
  bool greedy = true;  // the most likely id; of the others only the penalty is read
  ListedIds seen;      // ids that the penalty is for, each once
  ListedIds forbidden;
};

// Written in place of an id: a logit is NaN or +infinity; the largest logit that is left is not
// finite.
inline constexpr int32_t kLogitsNotFinite = -1, kNothingLeft = -2;

// ids[r] = an id chosen by logits[r] and rows[r] alone, in transformers' order:
//
// 1. Logits of seen ids are divided by the repetition penalty where positive and multiplied where
//    negative, in double, then rounded to F32. Those of forbidden ids become -infinity. Both
//    happen in place. An id whose logit is -infinity is never chosen.
// 2. Greedy: the largest logit; of equals the smallest id. Otherwise:
// 3. p = exp((logit - largest) / temperature) in double, the most likely first, of equals the
//    smaller id. Each of the next three leaves the first ones of what is left.
// 4. The top_k most likely, and those that equal the last of them.
// 5. The fewest whose p reach the share top_p of their sum.
// 6. Those whose p is at least min_p.
// 7. The id is the first where the sum of p exceeds the share `drawn` of their sum.
struct Sample {
  Activations logits;               // [rows, vocabulary] F32
  const SampleRow* rows = nullptr;  // [rows], on the backend
  const int32_t* listed = nullptr;  // ids of the vocabulary, on the backend
  int32_t* ids = nullptr;           // [rows], on the backend
};

void check(const Sample& op);
Cost cost(const Sample& op);  // of one look at each logit

}  // namespace emberq
