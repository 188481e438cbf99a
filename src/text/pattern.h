#pragma once

#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/json.h"
#include "base/regex.h"

namespace emberq {

using Span = Regex::Span;

// A tokenizer file's pattern: {"String": "..."}, taken literally, or {"Regex": "..."}.
class Pattern {
 public:
  static Pattern literal(std::string text) { return Pattern(std::move(text)); }
  static Pattern regex(std::string_view pattern);
  static Pattern parse(const JsonObject& json);  // of the key "pattern"

  // All matches from left to right that do not overlap; empty ones are left out.
  std::vector<Span> matches(std::string_view text) const;

 private:
  explicit Pattern(std::variant<std::string, Regex> form) : form_(std::move(form)) {}

  std::variant<std::string, Regex> form_;
};

// A pattern in the dialect of the tokenizers package as PCRE2 reads it the same way: PCRE2's \s
// also takes U+180E, which Unicode has not counted as white space since version 6.3.
std::string to_pcre2(std::string_view pattern);

}  // namespace emberq
