#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/file.h"
#include "text/added_tokens.h"
#include "text/bpe.h"
#include "text/decoder.h"
#include "text/normalizer.h"
#include "text/pre_tokenizer.h"

namespace emberq {

struct TokenizerConfig;

enum class SpecialTokens { kAdd, kNone };  // what encode() puts around the text: BOS, EOS
enum class SkipSpecial { kNo, kYes };      // whether decode() leaves special tokens out

// From text to token ids and back, as the tokenizers package (for Llama 3's own file, tiktoken)
// does it.
class Tokenizer {
 public:
  // A model folder's: tokenizer.json; or else vocab.json with merges.txt, by the class that
  // tokenizer_config.json names (Qwen2, GPT2); or else tokenizer.model in tiktoken's form (Llama
  // 3). The tokens of tokenizer_config.json, special_tokens_map.json and added_tokens.json come on
  // top, as transformers 5 has them. What is put around a text: beside tokenizer.json what its
  // post_processor says; else what tokenizer_config.json's add_bos_token and add_eos_token say.
  // InputError names the file and what is wrong or not run.
  static Tokenizer load(const fs::path& folder);

  // Special tokens in the text itself are recognized. InputError where the text is not UTF-8, or
  // has a character that the vocabulary has no token for and no unknown token.
  std::vector<int> encode(std::string_view text, SpecialTokens special) const;
  std::string decode(std::span<const int> ids, SkipSpecial skip = SkipSpecial::kNo) const;

  int vocab_size() const;  // the largest id and one
  bool has(int id) const { return added_.text(id) || model_.vocabulary().has(id); }
  std::optional<int> id_of(std::string_view token) const;
  // What a decoder gets for the id. InputError for an id that is no token's.
  const std::string& token_of(int id) const;
  bool is_special(int id) const { return added_.is_special(id); }
  std::optional<int> bos_id() const { return bos_id_; }
  std::optional<int> eos_id() const { return eos_id_; }
  const Decoder& decoder() const { return decoder_; }

 private:
  friend Tokenizer parse_tokenizer_json(const Json& json, const std::string& where);
  friend Tokenizer load_vocabulary_and_merges(const fs::path& folder);
  friend Tokenizer load_tiktoken(const fs::path& path);

  // Takes what the files beside the tokenizer's own say; the last step of every load.
  void configure(const TokenizerConfig& config);

  Normalizer normalizer_;
  PreTokenizer pre_tokenizer_;
  Bpe model_;
  AddedTokens added_;
  Decoder decoder_;
  std::vector<int> prefix_, suffix_;  // around a text
  std::optional<int> bos_id_, eos_id_;
};

// The forms that load() knows, each in the file of its name.
Tokenizer parse_tokenizer_json(const Json& json, const std::string& where);
Tokenizer load_vocabulary_and_merges(const fs::path& folder);
Tokenizer load_tiktoken(const fs::path& path);

}  // namespace emberq
