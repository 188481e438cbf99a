#pragma once

#include <memory>
#include <optional>
#include <string_view>

namespace emberq {

// The only door to PCRE2: Unicode patterns over UTF-8, compiled once, JIT where there is one. One
// object may be used by several threads at a time.
class Regex {
 public:
  struct Span {
    size_t begin, end;
  };

  explicit Regex(std::string_view pattern);  // InputError names the pattern and the place in it

  // The first match at or after `from`; offsets in bytes. `text` must be valid UTF-8.
  std::optional<Span> find(std::string_view text, size_t from = 0) const;
  // Whether the pattern matches at the start of the text, as Python's re.match does.
  bool matches_start(std::string_view text) const;

 private:
  struct Code;
  std::shared_ptr<const Code> code_;
};

}  // namespace emberq
