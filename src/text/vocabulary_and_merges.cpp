// vocab.json and merges.txt: a byte-level BPE whose other parts are known by its class.
#include <charconv>

#include "base/check.h"
#include "text/tokenizer.h"

namespace emberq {
namespace {

struct Family {
  std::string_view tokenizer_class;
  std::string_view regex;
  bool nfc;
};

constexpr Family kFamilies[] = {
    {"Qwen2Tokenizer", kQwen2Regex, true},
    {"GPT2Tokenizer", kGpt2Regex, false},
};

const Family& family_of(const JsonObject& config) {
  auto name = config.get<std::string>("tokenizer_class");
  if (name.ends_with("Fast")) name.resize(name.size() - 4);
  for (const Family& family : kFamilies)
    if (family.tokenizer_class == name) return family;
  config.reject("tokenizer_class",
                "must be Qwen2Tokenizer or GPT2Tokenizer where there is no tokenizer.json");
}

void read_merges(const fs::path& path, Bpe& bpe) {
  const std::string text = read_text(path), where = path.string();
  int line_number = 0;
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find('\n', at), text.size());
    std::string_view line = std::string_view(text).substr(at, end - at);
    at = end + 1;
    if (line.ends_with('\r')) line.remove_suffix(1);
    ++line_number;
    if (line.empty() || (line_number == 1 && line.starts_with("#version"))) continue;
    const size_t space = line.find(' ');
    EMBERQ_REQUIRE(space != line.npos && line.find(' ', space + 1) == line.npos,
                   "{}: line {} must be two tokens with a space between", where, line_number);
    bpe.add_merge(line.substr(0, space), line.substr(space + 1), where);
  }
}

}  // namespace

Tokenizer load_vocabulary_and_merges(const fs::path& folder) {
  const fs::path config_path = folder / "tokenizer_config.json";
  const Json config_json = read_json(config_path);
  const JsonObject config(config_json, config_path.string());
  const Family& family = family_of(config);

  const fs::path vocab_path = folder / "vocab.json";
  const Json vocab = read_json(vocab_path);
  const JsonObject tokens(vocab, vocab_path.string());
  Vocabulary vocabulary;
  for (const auto& [token, id] : vocab.items()) {
    if (!id.is_number_integer()) tokens.reject(token, "must be an id");
    vocabulary.add(token, id.get<int64_t>(), vocab_path.string());
  }

  Tokenizer tokenizer;
  tokenizer.model_ = Bpe(std::move(vocabulary), {});
  read_merges(folder / "merges.txt", tokenizer.model_);
  if (family.nfc) tokenizer.normalizer_ = Normalizer({NormalForm::kNfc});
  tokenizer.pre_tokenizer_ =
      PreTokenizer({PreTokenizer::Split{Pattern::regex(family.regex)}, PreTokenizer::ByteLevel{}});
  tokenizer.decoder_.form = Decoder::Form::kByteLevel;
  if (config.has("added_tokens_decoder")) {
    const JsonObject added = config.object("added_tokens_decoder");
    for (const auto& [key, value] : added.json().items()) {
      AddedToken token;
      const auto [end, error] = std::from_chars(key.data(), key.data() + key.size(), token.id);
      if (error != std::errc() || end != key.data() + key.size())
        added.reject(key, "must be an id's");
      const JsonObject object = added.object(key);
      token.content = object.get<std::string>("content");
      token.special = object.get_or("special", false);
      token.normalized = object.get_or("normalized", !token.special);
      token.single_word = object.get_or("single_word", false);
      token.lstrip = object.get_or("lstrip", false);
      token.rstrip = object.get_or("rstrip", false);
      tokenizer.add_token(std::move(token), config_path.string());
    }
  }
  return tokenizer;
}

}  // namespace emberq
