#include "text/pattern.h"

#include "base/check.h"
#include "base/interrupt.h"
#include "base/json.h"
#include "text/unicode.h"

namespace emberq {
namespace {

std::vector<Span> literal_matches(std::string_view text, std::string_view literal) {
  std::vector<Span> found;
  for (size_t at = 0; (at = text.find(literal, at)) != text.npos; at += literal.size())
    found.push_back({at, at + literal.size()});
  return found;
}

std::vector<Span> regex_matches(std::string_view text, const Regex& regex) {
  std::vector<Span> found;
  for (size_t at = 0; at <= text.size();) {
    check_interrupt();
    const auto match = regex.find(text, at);
    if (!match) break;
    const size_t done = found.empty() ? 0 : found.back().end;
    // \K within a look-around can put a match's begin behind its end or before the last match.
    EMBERQ_REQUIRE(match->begin >= done && match->end >= match->begin,
                   "a regular expression matches backwards, from byte {} to {} after {}",
                   match->begin, match->end, done);
    if (match->begin == match->end && !found.empty() && match->end == done) {
      at += at < text.size() ? utf8_length_of(text[at]) : 1;
      continue;
    }
    found.push_back(*match);
    at = match->end;
  }
  return found;
}

}  // namespace

Pattern Pattern::literal(std::string text) {
  if (text.empty()) return regex("");
  return Pattern(std::move(text));
}

Pattern Pattern::parse(const JsonObject& json) {
  const JsonObject pattern = json.object("pattern");
  if (pattern.has("String")) return literal(pattern.get<std::string>("String"));
  if (pattern.has("Regex")) return regex(pattern.get<std::string>("Regex"));
  json.reject("pattern", "must have a String or a Regex");
}

std::vector<Span> Pattern::matches(std::string_view text) const {
  if (text.empty()) return {};
  const auto* literal = std::get_if<std::string>(&form_);
  return literal ? literal_matches(text, *literal) : regex_matches(text, std::get<Regex>(form_));
}

}  // namespace emberq
