#include "text/unicode.h"

#include <utf8proc.h>

#include <algorithm>
#include <cstdlib>

#include "base/check.h"

namespace emberq {
namespace {

// How many of the bytes from `at` on could begin a character, and whether they are a whole one.
struct Prefix {
  size_t length;
  bool whole;
};

Prefix utf8_prefix(std::string_view text, size_t at) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[at + i]); };
  const unsigned first = byte(0);
  if (first < 0x80) return {1, true};
  if (first < 0xc2 || first > 0xf4) return {0, false};
  const size_t length = utf8_length_of(text[at]);
  // The second byte's range depends on the first; later ones are 80 ... BF.
  unsigned low = 0x80, high = 0xbf;
  if (first == 0xe0) low = 0xa0;
  if (first == 0xed) high = 0x9f;
  if (first == 0xf0) low = 0x90;
  if (first == 0xf4) high = 0x8f;
  for (size_t i = 1; i < length; ++i) {
    if (at + i >= text.size() || byte(i) < low || byte(i) > high) return {i, false};
    low = 0x80, high = 0xbf;
  }
  return {length, true};
}

}  // namespace

size_t utf8_length(std::string_view text, size_t at) {
  const Prefix prefix = utf8_prefix(text, at);
  return prefix.whole ? prefix.length : 0;
}

size_t find_invalid_utf8(std::string_view text) {
  for (size_t at = 0; at < text.size();) {
    const size_t length = utf8_length(text, at);
    if (length == 0) return at;
    at += length;
  }
  return std::string_view::npos;
}

std::string utf8_encode(uint32_t c) {
  const auto tail = [&](int shift) { return char(0x80 | (c >> shift & 0x3f)); };
  if (c < 0x80) return {char(c)};
  if (c < 0x800) return {char(0xc0 | c >> 6), tail(0)};
  if (c < 0x10000) return {char(0xe0 | c >> 12), tail(6), tail(0)};
  return {char(0xf0 | c >> 18), tail(12), tail(6), tail(0)};
}

uint32_t utf8_decode(std::string_view character) {
  const auto first = static_cast<unsigned char>(character[0]);
  if (character.size() == 1) return first;
  uint32_t code_point = first & (0x7fu >> character.size());
  for (size_t i = 1; i < character.size(); ++i)
    code_point = code_point << 6 | (static_cast<unsigned char>(character[i]) & 0x3fu);
  return code_point;
}

std::string lossy_utf8(std::string_view bytes) {
  std::string text;
  for (size_t at = 0; at < bytes.size();) {
    const Prefix prefix = utf8_prefix(bytes, at);
    text += prefix.whole ? bytes.substr(at, prefix.length) : kReplacementCharacter;
    at += std::max<size_t>(1, prefix.length);
  }
  return text;
}

size_t unfinished_utf8(std::string_view bytes) {
  for (size_t back = 1; back <= 3 && back <= bytes.size(); ++back) {
    const Prefix prefix = utf8_prefix(bytes, bytes.size() - back);
    if (!prefix.whole && prefix.length == back) return back;
  }
  return 0;
}

std::string to_normal_form(std::string_view text, NormalForm form) {
  // Composition knows nothing of ASCII, which most text is.
  size_t ascii = 0;
  while (ascii < text.size() && static_cast<unsigned char>(text[ascii]) < 0x80) ++ascii;
  if (ascii == text.size()) return std::string(text);

  const int compose =
      form == NormalForm::kNfc || form == NormalForm::kNfkc ? UTF8PROC_COMPOSE : UTF8PROC_DECOMPOSE;
  const int compatible =
      form == NormalForm::kNfkc || form == NormalForm::kNfkd ? UTF8PROC_COMPAT : 0;
  utf8proc_uint8_t* result = nullptr;
  const utf8proc_ssize_t length = utf8proc_map(
      reinterpret_cast<const utf8proc_uint8_t*>(text.data()), utf8proc_ssize_t(text.size()),
      &result, utf8proc_option_t(UTF8PROC_STABLE | compose | compatible));
  EMBERQ_CHECK(length >= 0, "cannot normalize a text: {}", utf8proc_errmsg(length));
  std::string normal(reinterpret_cast<const char*>(result), size_t(length));
  std::free(result);
  return normal;
}

std::string to_lower_case(std::string_view text) {
  std::string lower;
  lower.reserve(text.size());
  for (size_t at = 0; at < text.size();) {
    const std::string_view character = text.substr(at, utf8_length_of(text[at]));
    const uint32_t c = utf8_decode(character);
    // The lower case of U+0130 alone is two characters.
    lower +=
        c == 0x130 ? "i\xCC\x87" : utf8_encode(uint32_t(utf8proc_tolower(utf8proc_int32_t(c))));
    at += character.size();
  }
  return lower;
}

}  // namespace emberq
