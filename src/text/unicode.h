#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

// UTF-8, and the only door to utf8proc.
namespace emberq {

inline constexpr std::string_view kReplacementCharacter = "\xEF\xBF\xBD";  // U+FFFD

// The bytes of the character that starts at text[at], 1 to 4; 0 where none does. By Unicode's table
// 3-7: no surrogates, nothing overlong, nothing above U+10FFFF.
size_t utf8_length(std::string_view text, size_t at);
// Where the text stops being UTF-8, or npos.
size_t find_invalid_utf8(std::string_view text);
// The length of a valid text's character by its first byte.
constexpr size_t utf8_length_of(char first) {
  const auto byte = static_cast<unsigned char>(first);
  return byte < 0x80 ? 1 : byte < 0xe0 ? 2 : byte < 0xf0 ? 3 : 4;
}
std::string utf8_encode(uint32_t code_point);
uint32_t utf8_decode(std::string_view character);  // of one valid character

// The bytes with everything that is not UTF-8 replaced: U+FFFD for each maximal part of a
// character, as Python's and Rust's lossy decoding do.
std::string lossy_utf8(std::string_view bytes);
// The length of an unfinished character at the end of the bytes, 0 ... 3: more bytes may complete
// it.
size_t unfinished_utf8(std::string_view bytes);

enum class NormalForm { kNfc, kNfd, kNfkc, kNfkd };
std::string to_normal_form(std::string_view text, NormalForm form);
// Every character by itself: a final sigma is like any other.
std::string to_lower_case(std::string_view text);

}  // namespace emberq
