#pragma once

#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/json_fwd.h"
#include "text/pattern.h"

namespace emberq {

// A text and the words that it is cut into.
struct Words {
  struct Word {
    size_t begin, end;  // in the text
    bool at_start;      // begins where the text that the user gave begins
  };
  std::string text;
  std::vector<Word> words;

  std::string_view operator[](size_t i) const {
    return std::string_view(text).substr(words[i].begin, words[i].end - words[i].begin);
  }
};

// tokenizer.json's `pre_tokenizer`: cuts a normalized text into the words that the model sees one
// by one.
class PreTokenizer {
 public:
  enum class Behavior { kIsolated, kRemoved, kMergedWithPrevious, kMergedWithNext, kContiguous };
  enum class PrependScheme { kNever, kFirst, kAlways };

  struct Split {
    Pattern pattern;
    Behavior behavior = Behavior::kIsolated;
    bool invert = false;  // what does not match is the delimiter
  };
  struct FixedLength {
    size_t length;  // in characters
  };
  struct PrefixSpace {};  // a space before a word that does not start with one
  struct ByteLevel {};    // bytes to printable characters (byte_level.h)
  struct Metaspace {
    std::string replacement;  // for spaces: one character
    PrependScheme prepend = PrependScheme::kAlways;
    bool split = true;  // before each replacement
  };
  using Step = std::variant<Split, FixedLength, PrefixSpace, ByteLevel, Metaspace>;

  PreTokenizer() = default;  // the whole text is one word
  explicit PreTokenizer(std::vector<Step> steps) : steps_(std::move(steps)) {}
  static PreTokenizer parse(const JsonObject& json);  // InputError names a type that is not run

  // `at_start`: whether the text is the beginning of what the user gave. No word is empty.
  Words apply(std::string text, bool at_start) const;

 private:
  std::vector<Step> steps_;
};

// The regexes that tokenizers without a tokenizer.json are defined by.
inline constexpr std::string_view kGpt2Regex =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";
inline constexpr std::string_view kLlama3Regex =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
inline constexpr std::string_view kQwen2Regex =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

}  // namespace emberq
