#include "base/regex.h"

#include <oniguruma.h>

#include <array>
#include <climits>
#include <string>

#include "base/check.h"

namespace emberq {
namespace {

const OnigUChar* bytes(const char* text) { return reinterpret_cast<const OnigUChar*>(text); }

std::string message_of(int error, OnigErrorInfo* info = nullptr) {
  std::array<OnigUChar, ONIG_MAX_ERROR_MESSAGE_LEN> buffer{};
  const int length = onig_error_code_to_str(buffer.data(), error, info);
  return {reinterpret_cast<const char*>(buffer.data()), size_t(length)};
}

// Python's re has neither POSIX brackets nor sets within sets.
OnigSyntaxType* python_syntax() {
  static OnigSyntaxType syntax = [] {
    OnigSyntaxType python;
    onig_copy_syntax(&python, ONIG_SYNTAX_PYTHON);
    onig_set_syntax_op(&python, onig_get_syntax_op(&python) & ~ONIG_SYN_OP_POSIX_BRACKET);
    return python;
  }();
  return &syntax;
}

void initialize() {
  static const int result = [] {
    OnigEncoding utf8 = ONIG_ENCODING_UTF8;
    onig_set_retry_limit_in_search(Regex::kRetries);
    return onig_initialize(&utf8, 1);
  }();
  EMBERQ_CHECK(result == ONIG_NORMAL, "cannot initialize Oniguruma: {}", message_of(result));
}

// The length of "[:name:]" or "[:^name:]" at the start of the text, or 0.
size_t posix_bracket(std::string_view text) {
  if (!text.starts_with("[:")) return 0;
  size_t end = text.starts_with("[:^") ? 3 : 2;
  const size_t name = end;
  while (end < text.size() && text[end] >= 'a' && text[end] <= 'z') ++end;
  return end > name && text.substr(end).starts_with(":]") ? end + 2 : 0;
}

// The length of "\p{Word}", however its name is written, at the start of the text, or 0.
size_t word_property(std::string_view text) {
  if (!text.starts_with("\\p{") && !text.starts_with("\\P{")) return 0;
  size_t end = text.substr(3).starts_with('^') ? 4 : 3;
  std::string name;
  for (; end < text.size() && text[end] != '}'; ++end)
    if (text[end] != ' ' && text[end] != '_' && text[end] != '-') name += char(text[end] | 0x20);
  return name == "word" && end < text.size() ? end + 1 : 0;
}

std::string spell_posix_bracket(std::string_view bracket) {
  const bool negative = bracket[2] == '^';
  const std::string_view name =
      bracket.substr(negative ? 3 : 2, bracket.size() - (negative ? 5 : 4));
  const std::string set =
      name == "punct" ? "\\p{P}\\p{S}" : std::string("[:").append(name).append(":]");
  return (negative ? "[^" : "[") + set + "]";
}

// Until 6.9.9 Oniguruma read [:^name:] as a set of those letters, left most symbols out of
// [:punct:], and characters of \w out of \p{Word}: these are spelled so that every version reads
// what the newest does.
std::string spell_for_every_version(std::string_view pattern) {
  std::string result;
  int depth = 0;  // in [...]
  for (size_t i = 0; i < pattern.size(); ++i) {
    const std::string_view rest = pattern.substr(i);
    if (const size_t length = depth > 0 ? posix_bracket(rest) : 0) {
      result += spell_posix_bracket(rest.substr(0, length));
      i += length - 1;
      continue;
    }
    if (const size_t length = word_property(rest)) {
      const bool negative = rest[1] == 'P', inverted = rest[3] == '^';
      result += negative == inverted ? "\\w" : "\\W";
      i += length - 1;
      continue;
    }
    if (pattern[i] == '[') ++depth;
    if (pattern[i] == ']' && depth > 0) --depth;
    result += pattern[i];
    if (pattern[i] == '\\' && i + 1 < pattern.size()) result += pattern[++i];
  }
  return result;
}

struct Region {
  OnigRegion region{};
  Region() { onig_region_init(&region); }
  ~Region() { onig_region_free(&region, 0); }
  Region(const Region&) = delete;
  Region& operator=(const Region&) = delete;
};

}  // namespace

struct Regex::Code {
  OnigRegex regex = nullptr;
  ~Code() { onig_free(regex); }
};

Regex::Regex(std::string_view pattern, Syntax syntax) {
  initialize();
  const std::string spelled =
      syntax == Syntax::kRuby ? spell_for_every_version(pattern) : std::string(pattern);
  const OnigUChar* begin = bytes(spelled.data());
  OnigErrorInfo info{};
  auto owned = std::make_shared<Code>();
  const int error =
      onig_new(&owned->regex, begin, begin + spelled.size(), ONIG_OPTION_NONE, ONIG_ENCODING_UTF8,
               syntax == Syntax::kRuby ? ONIG_SYNTAX_RUBY : python_syntax(), &info);
  EMBERQ_REQUIRE(error == ONIG_NORMAL, "cannot compile the regular expression '{}': {}", pattern,
                 message_of(error, &info));
  code_ = std::move(owned);
}

std::optional<Regex::Span> Regex::find(std::string_view text, size_t from) const {
  EMBERQ_CHECK(from <= text.size(), "a search from {} in a text of {} bytes", from, text.size());
  EMBERQ_REQUIRE(text.size() <= INT_MAX,
                 "a text of {} bytes is too long for a regular expression; it may have {}",
                 text.size(), INT_MAX);
  thread_local Region found;
  const OnigUChar* begin = bytes(text.data());
  const OnigUChar* end = begin + text.size();
  const int result =
      onig_search(code_->regex, begin, end, begin + from, end, &found.region, ONIG_OPTION_NONE);
  if (result == ONIG_MISMATCH) return std::nullopt;
  EMBERQ_REQUIRE(result >= 0, "cannot match a regular expression: {}", message_of(result));
  return Span{size_t(found.region.beg[0]), size_t(found.region.end[0])};
}

bool Regex::matches_start(std::string_view text) const {
  const OnigUChar* begin = bytes(text.data());
  const int result =
      onig_match(code_->regex, begin, begin + text.size(), begin, nullptr, ONIG_OPTION_NONE);
  EMBERQ_REQUIRE(result >= 0 || result == ONIG_MISMATCH, "cannot match a regular expression: {}",
                 message_of(result));
  return result >= 0;
}

}  // namespace emberq
