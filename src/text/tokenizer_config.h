#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/file.h"
#include "text/added_tokens.h"

namespace emberq {

// Special tokens by the names of tokenizer_config.json: {"eos_token", "</s>"}.
using SpecialTokenNames = std::vector<std::pair<std::string_view, std::string_view>>;

// What tokenizer_config.json, special_tokens_map.json and added_tokens.json say of a tokenizer,
// each where it is there, as transformers 5 reads them: special_tokens_map.json and
// added_tokens.json count where tokenizer_config.json has no added_tokens_decoder.
struct TokenizerConfig {
  std::string where;               // tokenizer_config.json
  std::vector<AddedToken> tokens;  // to add, in order
  std::optional<std::string> bos_token, eos_token;
  std::optional<bool> add_bos_token, add_eos_token;
  bool add_prefix_space = false;

  // `known`: the tokens that tokenizer.json adds; `defaults`: of the tokenizer's class, which a
  // null in tokenizer_config.json takes back. InputError names the file and the key.
  static TokenizerConfig read(const fs::path& folder, const AddedTokens& known,
                              const SpecialTokenNames& defaults);
};

}  // namespace emberq
