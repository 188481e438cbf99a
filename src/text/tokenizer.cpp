#include "text/tokenizer.h"

#include <algorithm>
#include <functional>
#include <unordered_map>

#include "base/check.h"
#include "base/interrupt.h"
#include "base/json.h"
#include "text/read_utf8.h"
#include "text/tokenizer_config.h"

namespace emberq {
namespace {

// The ids of the words seen in a text.
class KnownWords {
 public:
  explicit KnownWords(const Bpe& model) : model_(&model) {}

  void encode(std::string_view word, std::vector<int>& ids) {
    constexpr size_t kLongWord = 64;  // not worth remembering
    if (word.size() > kLongWord) return model_->encode(word, ids);
    auto found = spans_.find(word);
    if (found == spans_.end()) {
      const size_t begin = ids_.size();
      model_->encode(word, ids_);
      found = spans_.emplace(word, Span{begin, ids_.size()}).first;
    }
    const auto [begin, end] = found->second;
    ids.insert(ids.end(), ids_.begin() + int64_t(begin), ids_.begin() + int64_t(end));
  }

 private:
  struct Hash {
    using is_transparent = void;
    size_t operator()(std::string_view text) const { return std::hash<std::string_view>{}(text); }
  };

  const Bpe* model_;
  std::vector<int> ids_;
  std::unordered_map<std::string, Span, Hash, std::equal_to<>> spans_;  // of ids_
};

}  // namespace

Tokenizer Tokenizer::load(const fs::path& folder) {
  const auto has = [&](const char* file) { return file_exists(folder / file); };
  Tokenizer tokenizer;
  if (has("tokenizer.json")) {
    const fs::path path = folder / "tokenizer.json";
    tokenizer = parse_tokenizer_json(read_json(path), path.string());
    TokenizerConfig config = TokenizerConfig::read(folder, tokenizer.added_, {});
    config.add_bos_token = config.add_eos_token = std::nullopt;  // its post_processor decides
    tokenizer.configure(config);
  } else if (has("vocab.json") && has("merges.txt")) {
    tokenizer = load_vocabulary_and_merges(folder);
  } else if (has("tokenizer.model")) {
    tokenizer = load_tiktoken(folder / "tokenizer.model");
    tokenizer.configure(TokenizerConfig::read(folder, tokenizer.added_, {}));
  } else {
    throw InputError(fmt::format(
        "{} has no tokenizer: no tokenizer.json, no vocab.json with merges.txt, no tokenizer.model",
        folder.string()));
  }
  return tokenizer;
}

void Tokenizer::configure(const TokenizerConfig& config) {
  added_.add(config.tokens, model_.vocabulary(), config.where);
  added_.finish(normalizer_);
  if (config.bos_token) bos_id_ = id_of(*config.bos_token);
  if (config.eos_token) eos_id_ = id_of(*config.eos_token);
  const auto decide = [](std::optional<bool> wanted, std::vector<int>& ids,
                         std::optional<int> token) {
    if (wanted && token) ids = *wanted ? std::vector<int>{*token} : std::vector<int>{};
  };
  decide(config.add_bos_token, prefix_, bos_id_);
  decide(config.add_eos_token, suffix_, eos_id_);
}

std::vector<int> Tokenizer::encode(std::string_view text, SpecialTokens special) const {
  require_utf8(text, "the text");
  std::vector<int> ids;
  if (special == SpecialTokens::kAdd) ids = prefix_;
  KnownWords known(model_);
  for (AddedTokens::Part& part : added_.split(text, normalizer_)) {
    check_interrupt();
    if (part.id) {
      ids.push_back(*part.id);
      continue;
    }
    const Words words = pre_tokenizer_.apply(std::move(part.text), part.at_start);
    for (size_t i = 0; i < words.words.size(); ++i) {
      check_interrupt();
      known.encode(words[i], ids);
    }
  }
  if (special == SpecialTokens::kAdd) ids.insert(ids.end(), suffix_.begin(), suffix_.end());
  return ids;
}

std::string Tokenizer::decode(std::span<const int> ids, SkipSpecial skip) const {
  DecoderStream stream(decoder_);
  std::string text;
  for (const int id : ids)
    if (skip == SkipSpecial::kNo || !is_special(id)) text += stream.add(token_of(id));
  return text + stream.finish();
}

int Tokenizer::vocab_size() const { return std::max(model_.vocabulary().size(), added_.size()); }

std::optional<int> Tokenizer::id_of(std::string_view token) const {
  if (const auto id = added_.find(token)) return id;
  const int id = model_.vocabulary().find(token);
  return id < 0 ? std::nullopt : std::optional(id);
}

const std::string& Tokenizer::token_of(int id) const {
  if (const std::string* text = added_.text(id)) return *text;
  EMBERQ_REQUIRE(model_.vocabulary().has(id), "there is no token of id {}", id);
  return model_.vocabulary().text(id);
}

}  // namespace emberq
