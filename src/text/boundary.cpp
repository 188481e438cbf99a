#include "text/boundary.h"

#include "base/regex.h"
#include "text/unicode.h"

namespace emberq {
namespace {

size_t start_of_last_character(std::string_view text) {
  size_t at = text.size();
  while (at > 0 && (text[--at] & 0xc0) == 0x80) {
  }
  return at;
}

bool is_space(std::string_view character) {
  static const Regex regex("\\s");
  return regex.matches_start(character);
}

}  // namespace

bool word_at_start(std::string_view text) {
  static const Regex regex(kRustWord);
  return regex.matches_start(text);
}

bool word_at_end(std::string_view text) {
  return word_at_start(text.substr(start_of_last_character(text)));
}

size_t space_at_start(std::string_view text) {
  size_t end = 0;
  while (end < text.size() && is_space(text.substr(end))) end += utf8_length_of(text[end]);
  return end;
}

size_t space_at_end(std::string_view text) {
  while (!text.empty()) {
    const size_t last = start_of_last_character(text);
    if (!is_space(text.substr(last))) break;
    text = text.substr(0, last);
  }
  return text.size();
}

}  // namespace emberq
