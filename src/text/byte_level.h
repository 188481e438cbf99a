#pragma once

#include <optional>
#include <string>
#include <string_view>

// GPT-2's way to write any bytes in printable characters: a byte that is a printable character of
// Latin-1 stands for itself, the other 68 for U+0100, U+0101, ... in order.
namespace emberq {

std::string byte_level_encode(std::string_view bytes);
void byte_level_append(std::string_view bytes, std::string& text);  // the same, at the text's end
// Back to bytes; nullopt where a character stands for no byte.
std::optional<std::string> byte_level_decode(std::string_view text);

}  // namespace emberq
