#pragma once

#include "text/tokenizer.h"

namespace emberq {

// Text from ids as they come: what add() and finish() return, joined, is decode() of all ids, and
// no piece ends within a character. An id without a token, which a model whose vocabulary is padded
// may choose, is no text, as in transformers. The tokenizer must live longer.
class Detokenizer {
 public:
  explicit Detokenizer(const Tokenizer& tokenizer, SkipSpecial skip = SkipSpecial::kYes)
      : tokenizer_(&tokenizer), stream_(tokenizer.decoder()), skip_(skip) {}

  std::string add(int id) {
    if (!tokenizer_->has(id)) return "";
    if (skip_ == SkipSpecial::kYes && tokenizer_->is_special(id)) return "";
    return stream_.add(tokenizer_->token_of(id));
  }
  std::string finish() { return stream_.finish(); }

 private:
  const Tokenizer* tokenizer_;
  DecoderStream stream_;
  SkipSpecial skip_;
};

}  // namespace emberq
