#pragma once

#include <span>
#include <string_view>
#include <vector>

#include "model/logit_rows.h"
#include "text/tokenizer.h"

namespace emberq {

// A text in two parts, of which the second is judged given the first.
struct TokenPair {
  std::vector<int> context, continuation;
};

// As lm-evaluation-harness encodes them (lm_eval/api/model.py, _encode_pair): white space (ASCII)
// at the end of the context moves to the continuation; both are encoded as one text, of which the
// continuation is what is longer than the encoded context. An empty context becomes the BOS token,
// or EOS where there is none. InputError where no token is left for the continuation.
TokenPair encode_pair(const Tokenizer& tokenizer, std::string_view context,
                      std::string_view continuation, SpecialTokens special = SpecialTokens::kNone);

struct Likelihood {
  double log_p = 0;     // sum over the continuation's tokens
  bool greedy = false;  // each of them is the most likely one, given the text before it
};

// Judges one continuation after another. What a text shares with the last one's beginning is not
// run again but stays in the KV cache.
class LikelihoodScorer {
 public:
  // Of texts of at most `longest` tokens, context and continuation.
  LikelihoodScorer(Model& model, int64_t longest);

  // Neither is empty. Of a text with more tokens than the model has positions, the first ones are
  // dropped; InputError where that leaves no context, and for ids outside the vocabulary.
  Likelihood score(std::span<const int> context, std::span<const int> continuation);

 private:
  Activations run(int64_t first_predicted, const std::vector<int>& input);

  Model* model_;
  KvPool pool_;
  KvSequence sequence_;
  LogitRows logits_;
  std::vector<int> cached_;  // the tokens in the cache
};

}  // namespace emberq
