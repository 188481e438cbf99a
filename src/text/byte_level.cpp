#include "text/byte_level.h"

#include <array>
#include <unordered_map>

#include "text/unicode.h"

namespace emberq {
namespace {

struct Maps {
  std::array<std::string, 256> character;
  std::unordered_map<std::string_view, char> byte;

  Maps() {
    uint32_t next = 0x100;
    for (uint32_t b = 0; b < 256; ++b) {
      const bool printable = (b >= '!' && b <= '~') || (b >= 0xa1 && b <= 0xac) || b >= 0xae;
      character[b] = utf8_encode(printable ? b : next++);
    }
    for (size_t b = 0; b < 256; ++b) byte.emplace(character[b], char(b));
  }
};

const Maps& maps() {
  static const Maps maps;
  return maps;
}

}  // namespace

std::string byte_level_encode(std::string_view bytes) {
  std::string text;
  byte_level_append(bytes, text);
  return text;
}

void byte_level_append(std::string_view bytes, std::string& text) {
  const auto& characters = maps().character;
  for (const char byte : bytes) text += characters[static_cast<unsigned char>(byte)];
}

std::optional<std::string> byte_level_decode(std::string_view text) {
  std::string bytes;
  for (size_t at = 0; at < text.size();) {
    const size_t length = utf8_length_of(text[at]);
    const auto found = maps().byte.find(text.substr(at, length));
    if (found == maps().byte.end()) return std::nullopt;
    bytes += found->second;
    at += length;
  }
  return bytes;
}

}  // namespace emberq
