#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace emberq {

// What changes the logits before a token is chosen from them, whether greedily or by chance.
struct LogitRules {
  // Logits of the tokens so far: divided by this where positive, multiplied where negative. 1:
  // none.
  double repetition_penalty = 1;
  int64_t no_repeat_ngram_size = 0;  // no n tokens in a row come twice; 0: they may
  // Each forbids its last token where the text ends with its others. One that is an end token alone
  // forbids nothing.
  std::vector<std::vector<int>> bad_words;
  int64_t min_length = 0;           // tokens, prompt included, before an end token may come
  int64_t min_new_tokens = 0;       // without the prompt
  std::vector<int> suppress;        // tokens that never come
  std::vector<int> begin_suppress;  // tokens that are not the first new one
};

// The tokens so far, and how many of them are the prompt's.
struct TokensSoFar {
  std::span<const int> ids;
  int64_t prompt = 0;
};

// Ids of the vocabulary that may not come next, by all rules except the penalty and by
// transformers' definitions (generation/logits_process.py); some of them more than once.
std::vector<int32_t> forbidden(const LogitRules& rules, const TokensSoFar& so_far,
                               std::span<const int> eos_ids, int64_t vocab);

}  // namespace emberq
