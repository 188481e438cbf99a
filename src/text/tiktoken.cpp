// Llama 3's tokenizer.model: a line per token, its bytes in base64 and its rank.
#include <charconv>

#include "base/check.h"
#include "text/byte_level.h"
#include "text/tokenizer.h"

namespace emberq {
namespace {

std::optional<std::string> base64_decode(std::string_view text) {
  constexpr std::string_view kDigits =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  while (text.ends_with('=')) text.remove_suffix(1);
  std::string bytes;
  uint32_t bits = 0;
  int held = 0;
  for (const char c : text) {
    const size_t digit = kDigits.find(c);
    if (digit == kDigits.npos) return std::nullopt;
    bits = bits << 6 | uint32_t(digit);
    held += 6;
    if (held >= 8) bytes += char(bits >> (held -= 8));
  }
  return bytes;
}

// Llama 3's 256 special tokens, which follow the others.
std::vector<std::string> special_tokens() {
  std::vector<std::string> names = {"<|begin_of_text|>",
                                    "<|end_of_text|>",
                                    "<|reserved_special_token_0|>",
                                    "<|reserved_special_token_1|>",
                                    "<|reserved_special_token_2|>",
                                    "<|reserved_special_token_3|>",
                                    "<|start_header_id|>",
                                    "<|end_header_id|>",
                                    "<|reserved_special_token_4|>",
                                    "<|eot_id|>"};
  for (int i = 5; names.size() < 256; ++i)
    names.push_back(fmt::format("<|reserved_special_token_{}|>", i));
  return names;
}

std::vector<std::string> read_tokens(const fs::path& path) {
  const std::string text = read_text(path);
  std::vector<std::string> tokens;
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find('\n', at), text.size());
    const std::string_view line = std::string_view(text).substr(at, end - at);
    at = end + 1;
    if (line.empty()) continue;
    const size_t space = line.find(' ');
    const auto bytes = base64_decode(line.substr(0, space));
    size_t rank = 0;
    const bool ranked =
        space != line.npos &&
        std::from_chars(line.data() + space + 1, line.data() + line.size(), rank).ec == std::errc();
    EMBERQ_REQUIRE(bytes && !bytes->empty() && ranked && rank == tokens.size(),
                   "{}: line {} is not a token in base64 and its rank; only tiktoken's form of a "
                   "tokenizer.model is read (for SentencePiece's, save a tokenizer.json)",
                   path.string(), tokens.size() + 1);
    tokens.push_back(*bytes);
  }
  EMBERQ_REQUIRE(!tokens.empty(), "{} has no tokens", path.string());
  return tokens;
}

}  // namespace

Tokenizer load_tiktoken(const fs::path& path) {
  const std::vector<std::string> tokens = read_tokens(path);
  Tokenizer tokenizer;
  Vocabulary vocabulary;
  for (size_t rank = 0; rank < tokens.size(); ++rank)
    vocabulary.add(byte_level_encode(tokens[rank]), int64_t(rank), path.string());
  tokenizer.model_ = Bpe(std::move(vocabulary), {.ignore_merges = true});
  // tiktoken joins any two neighbours whose bytes together are a token, the token of least rank
  // first: every way to cut a token in two tokens is a merge of its rank.
  for (size_t rank = 0; rank < tokens.size(); ++rank)
    for (size_t cut = 1; cut < tokens[rank].size(); ++cut) {
      const Vocabulary& known = tokenizer.model_.vocabulary();
      const int left = known.find(byte_level_encode(tokens[rank].substr(0, cut)));
      const int right = known.find(byte_level_encode(tokens[rank].substr(cut)));
      if (left >= 0 && right >= 0) tokenizer.model_.add_merge(left, right, int(rank), int(rank));
    }

  tokenizer.pre_tokenizer_ =
      PreTokenizer({PreTokenizer::Split{Pattern::regex(kLlama3Regex)}, PreTokenizer::ByteLevel{}});
  tokenizer.decoder_ = Decoder::byte_level();
  std::vector<AddedToken> special;
  for (std::string& name : special_tokens())
    special.push_back(AddedToken::special_token(std::move(name)));
  tokenizer.added_.add(special, tokenizer.model_.vocabulary(), path.string());
  tokenizer.bos_id_ = tokenizer.id_of("<|begin_of_text|>");
  tokenizer.eos_id_ = tokenizer.id_of("<|end_of_text|>");
  tokenizer.prefix_ = {*tokenizer.bos_id_};
  return tokenizer;
}

}  // namespace emberq
