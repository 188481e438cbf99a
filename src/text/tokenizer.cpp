#include "text/tokenizer.h"

#include <unordered_map>

#include "base/check.h"
#include "base/interrupt.h"
#include "text/unicode.h"

namespace emberq {
namespace {

// "bos_token": "<s>" or {"content": "<s>", ...}
std::optional<std::string> token_text(const JsonObject& config, std::string_view key) {
  if (!config.has(key)) return std::nullopt;
  if (config.at(key).is_object()) return config.object(key).get<std::string>("content");
  return config.get<std::string>(key);
}

}  // namespace

Tokenizer Tokenizer::load(const fs::path& folder) {
  const auto has = [&](const char* file) { return file_exists(folder / file); };
  Tokenizer tokenizer;
  if (has("tokenizer.json")) {
    const fs::path path = folder / "tokenizer.json";
    tokenizer = parse_tokenizer_json(read_json(path), path.string());
  } else if (has("vocab.json") && has("merges.txt")) {
    tokenizer = load_vocabulary_and_merges(folder);
  } else if (has("tokenizer.model")) {
    tokenizer = load_tiktoken(folder / "tokenizer.model");
  } else {
    throw InputError(fmt::format(
        "{} has no tokenizer: no tokenizer.json, no vocab.json with merges.txt, no tokenizer.model",
        folder.string()));
  }
  if (has("tokenizer_config.json")) tokenizer.read_config(folder / "tokenizer_config.json");
  tokenizer.added_.finish(tokenizer.normalizer_);
  return tokenizer;
}

void Tokenizer::add_token(AddedToken token, const std::string& where) {
  model_.vocabulary().add(token.content, token.id, where);
  added_.add(std::move(token));
}

void Tokenizer::read_config(const fs::path& path) {
  const Json json = read_json(path);
  const JsonObject config(json, path.string());
  const auto id = [&](std::string_view key) {
    const auto text = token_text(config, key);
    return text ? id_of(*text) : std::nullopt;
  };
  if (const auto bos = id("bos_token")) bos_id_ = bos;
  if (const auto eos = id("eos_token")) eos_id_ = eos;

  const auto decide = [&](std::string_view key, std::vector<int>& ids, std::optional<int> token) {
    if (!config.has(key) || !token) return;
    const bool wanted = config.get<bool>(key), there = !ids.empty() && ids.front() == *token;
    if (wanted && !there) ids.insert(ids.begin(), *token);
    if (!wanted && there) ids.erase(ids.begin());
  };
  decide("add_bos_token", prefix_, bos_id_);
  decide("add_eos_token", suffix_, eos_id_);
}

std::vector<int> Tokenizer::encode(std::string_view text, SpecialTokens special) const {
  const size_t invalid = find_invalid_utf8(text);
  EMBERQ_REQUIRE(invalid == text.npos, "the text is not UTF-8 at byte {}", invalid);

  std::vector<int> ids;
  if (special == SpecialTokens::kAdd) ids = prefix_;
  std::unordered_map<std::string, std::vector<int>> known;  // words seen in this text
  for (const AddedTokens::Part& part : added_.split(text, normalizer_)) {
    if (part.id) {
      ids.push_back(*part.id);
      continue;
    }
    for (const std::string& word : pre_tokenizer_.apply(part.text, part.at_start)) {
      check_interrupt();
      constexpr size_t kLongWord = 64;  // not worth remembering
      if (word.size() > kLongWord) {
        model_.encode(word, ids);
        continue;
      }
      const auto [entry, is_new] = known.try_emplace(word);
      if (is_new) model_.encode(word, entry->second);
      ids.insert(ids.end(), entry->second.begin(), entry->second.end());
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

std::optional<int> Tokenizer::id_of(std::string_view token) const {
  const int id = model_.vocabulary().find(token);
  return id < 0 ? std::nullopt : std::optional(id);
}

const std::string& Tokenizer::token_of(int id) const {
  EMBERQ_REQUIRE(model_.vocabulary().has(id), "there is no token of id {}", id);
  return model_.vocabulary().text(id);
}

}  // namespace emberq
