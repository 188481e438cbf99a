#pragma once

#include <memory>
#include <optional>
#include <string_view>

namespace emberq {

// The only door to Oniguruma: Unicode patterns over UTF-8, compiled once. One object may be used by
// several threads at a time. Characters have the properties that Oniguruma's version of Unicode
// gives them (14.0 in Debian 12, 15.1 in Ubuntu 24.04).
class Regex {
 public:
  struct Span {
    size_t begin, end;
  };
  enum class Syntax {
    kRuby,    // Oniguruma's own, which the tokenizers package reads
    kPython,  // as Python's re, which compressed-tensors reads
  };

  // InputError gives the pattern and Oniguruma's message.
  explicit Regex(std::string_view pattern, Syntax syntax = Syntax::kRuby);

  // The first match at or after `from`; offsets in bytes. `text` must be valid UTF-8. InputError
  // where the search backtracks more than kRetries times, or 10 million times from one place.
  std::optional<Span> find(std::string_view text, size_t from = 0) const;
  // Whether the pattern matches at the start of the text, as Python's re.match does.
  bool matches_start(std::string_view text) const;

  static constexpr unsigned long kRetries = 100'000'000;  // about a second

 private:
  struct Code;
  std::shared_ptr<const Code> code_;
};

}  // namespace emberq
