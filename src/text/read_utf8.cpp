#include "text/read_utf8.h"

#include "base/check.h"
#include "text/unicode.h"

namespace emberq {

void require_utf8(std::string_view text, std::string_view what) {
  const size_t invalid = find_invalid_utf8(text);
  EMBERQ_REQUIRE(invalid == text.npos, "{} is not UTF-8 at byte {}", what, invalid);
}

std::string read_utf8(const fs::path& path) {
  std::string text = read_text(path);
  require_utf8(text, path.string());
  return text;
}

}  // namespace emberq
