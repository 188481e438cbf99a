#pragma once

#include <vector>

#include "bench/meter.h"
#include "format/scheme.h"

// Attention over a paged cache on a GPU. docs/benchmarks.md says what is measured and how.
namespace emberq::bench {

// So many sequences, each with `new_tokens` queries at the end of `context` tokens: one while
// decoding, as many as the context for a prompt.
struct AttentionShape {
  int64_t batch = 1, context = 0, new_tokens = 1;
};

struct AttentionBench {
  std::vector<AttentionShape> shapes;
  std::vector<KvScheme> schemes;
  int64_t heads = 32, kv_heads = 8, head_dim = 128, page_tokens = 64;
};

struct AttentionRow {
  AttentionShape shape;
  KvScheme scheme;
  CallTime attention, append;  // append: rope_append_kv of the new tokens
  double cache_bytes = 0;      // that a call must read
  double flops = 0;            // of the two products, of visible keys alone
  double append_bytes = 0;     // read and written
};

struct AttentionResult {
  Conditions conditions;
  std::vector<AttentionRow> rows;
};

// Throws Error where there is no GPU to measure on.
AttentionResult run_attention_bench(const AttentionBench& bench);

}  // namespace emberq::bench
