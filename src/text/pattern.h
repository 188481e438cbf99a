#pragma once

#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/json_fwd.h"
#include "base/regex.h"

namespace emberq {

using Span = Regex::Span;

// A tokenizer file's pattern: {"String": "..."}, taken literally, or {"Regex": "..."}.
class Pattern {
 public:
  static Pattern literal(std::string text);
  static Pattern regex(std::string_view pattern) { return Pattern(Regex(pattern)); }
  static Pattern parse(const JsonObject& json);  // of the key "pattern"

  // All matches from left to right that do not overlap. An empty match counts, but not at the end
  // of the match before it; in an empty text nothing matches. InputError where a match goes back.
  std::vector<Span> matches(std::string_view text) const;

 private:
  explicit Pattern(std::variant<std::string, Regex> form) : form_(std::move(form)) {}

  std::variant<std::string, Regex> form_;  // the text is not empty
};

}  // namespace emberq
