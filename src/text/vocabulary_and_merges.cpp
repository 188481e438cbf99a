// vocab.json and merges.txt: a byte-level BPE whose other parts are known by its class.
#include "base/check.h"
#include "base/json.h"
#include "text/tokenizer.h"
#include "text/tokenizer_config.h"

namespace emberq {
namespace {

struct Family {
  std::string_view tokenizer_class;
  std::string_view regex;
  bool nfc;
  SpecialTokenNames special_tokens;  // by default
};

const Family& family_of(const JsonObject& config) {
  auto name = config.get<std::string>("tokenizer_class");
  if (name.ends_with("Fast")) name.resize(name.size() - 4);
  constexpr std::string_view kEnd = "<|endoftext|>";
  static const Family families[] = {
      {"Qwen2Tokenizer",
       kQwen2Regex,
       true,
       {{"unk_token", kEnd}, {"eos_token", kEnd}, {"pad_token", kEnd}}},
      {"GPT2Tokenizer",
       kGpt2Regex,
       false,
       {{"unk_token", kEnd}, {"bos_token", kEnd}, {"eos_token", kEnd}}},
  };
  for (const Family& family : families)
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
    if (!line.empty()) bpe.add_merge_line(line, fmt::format("{}, line {}", where, line_number));
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
  const auto configured = TokenizerConfig::read(folder, tokenizer.added_, family.special_tokens);
  if (family.nfc) tokenizer.normalizer_ = Normalizer({NormalForm::kNfc});
  // The space goes to each word of Qwen2's; GPT-2's are cut behind it.
  const bool prefixed = configured.add_prefix_space;
  std::vector<PreTokenizer::Step> steps;
  if (prefixed && !family.nfc) steps.push_back(PreTokenizer::PrefixSpace{});
  steps.push_back(PreTokenizer::Split{Pattern::regex(family.regex)});
  if (prefixed && family.nfc) steps.push_back(PreTokenizer::PrefixSpace{});
  steps.push_back(PreTokenizer::ByteLevel{});
  tokenizer.pre_tokenizer_ = PreTokenizer(std::move(steps));
  tokenizer.decoder_ = Decoder::byte_level();
  tokenizer.configure(configured);
  return tokenizer;
}

}  // namespace emberq
