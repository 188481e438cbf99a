#include "text/read_utf8.h"

#include "base/check.h"
#include "text/unicode.h"

namespace emberq {

std::string read_utf8(const fs::path& path) {
  std::string text = read_text(path);
  const size_t invalid = find_invalid_utf8(text);
  EMBERQ_REQUIRE(invalid == text.npos, "{} is not UTF-8 at byte {}", path.string(), invalid);
  return text;
}

}  // namespace emberq
