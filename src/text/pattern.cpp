#include "text/pattern.h"

#include "text/unicode.h"

namespace emberq {

std::string to_pcre2(std::string_view pattern) {
  constexpr std::string_view kSpace = "\\t-\\r\\x{85}\\p{Z}";  // White_Space, inside a class
  std::string result;
  int depth = 0;  // in [...]
  for (size_t i = 0; i < pattern.size(); ++i) {
    const char c = pattern[i];
    if (c == '\\' && i + 1 < pattern.size()) {
      const char escaped = pattern[++i];
      if (escaped == 's')
        result.append(depth > 0 ? "" : "[").append(kSpace).append(depth > 0 ? "" : "]");
      else if (escaped == 'S' && depth == 0)
        result.append("[^").append(kSpace).append("]");
      else
        result.append({c, escaped});
      continue;
    }
    if (c == '[') ++depth;
    if (c == ']' && depth > 0) --depth;
    result += c;
  }
  return result;
}

Pattern Pattern::regex(std::string_view pattern) { return Pattern(Regex(to_pcre2(pattern))); }

Pattern Pattern::parse(const JsonObject& json) {
  const JsonObject pattern = json.object("pattern");
  if (pattern.has("String")) {
    if (pattern.get<std::string>("String").empty()) pattern.reject("String", "must not be empty");
    return literal(pattern.get<std::string>("String"));
  }
  if (pattern.has("Regex")) return regex(pattern.get<std::string>("Regex"));
  json.reject("pattern", "must have a String or a Regex");
}

std::vector<Span> Pattern::matches(std::string_view text) const {
  std::vector<Span> found;
  if (const auto* literal = std::get_if<std::string>(&form_)) {
    for (size_t at = 0; (at = text.find(*literal, at)) != text.npos; at += literal->size())
      found.push_back({at, at + literal->size()});
    return found;
  }
  const Regex& regex = std::get<Regex>(form_);
  for (size_t at = 0; at < text.size();) {
    const auto match = regex.find(text, at);
    if (!match) break;
    if (match->end > match->begin) found.push_back(*match);
    at = match->end > at ? match->end : at + utf8_length_of(text[at]);
  }
  return found;
}

}  // namespace emberq
