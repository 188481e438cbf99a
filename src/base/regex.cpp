#include "base/regex.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <array>

#include "base/check.h"

namespace emberq {
namespace {

std::string message_of(int error) {
  std::array<PCRE2_UCHAR, 256> buffer{};
  pcre2_get_error_message(error, buffer.data(), buffer.size());
  return reinterpret_cast<const char*>(buffer.data());
}

struct MatchData {
  pcre2_match_data* data;
  explicit MatchData(const pcre2_code* code)
      : data(pcre2_match_data_create_from_pattern(code, nullptr)) {}
  ~MatchData() { pcre2_match_data_free(data); }
  MatchData(const MatchData&) = delete;
  MatchData& operator=(const MatchData&) = delete;
};

}  // namespace

struct Regex::Code {
  pcre2_code* code = nullptr;
  ~Code() { pcre2_code_free(code); }

  std::optional<Span> match(std::string_view text, size_t from, uint32_t options) const {
    const MatchData match(code);
    const int found = pcre2_match(code, reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(),
                                  from, options | PCRE2_NO_UTF_CHECK, match.data, nullptr);
    if (found == PCRE2_ERROR_NOMATCH) return std::nullopt;
    EMBERQ_REQUIRE(found >= 0, "cannot match a regular expression: {}", message_of(found));
    const PCRE2_SIZE* offsets = pcre2_get_ovector_pointer(match.data);
    return Span{offsets[0], offsets[1]};
  }
};

Regex::Regex(std::string_view pattern) {
  int error = 0;
  PCRE2_SIZE offset = 0;
  auto owned = std::make_shared<Code>();
  owned->code = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(),
                              PCRE2_UTF | PCRE2_UCP, &error, &offset, nullptr);
  EMBERQ_REQUIRE(owned->code != nullptr, "cannot compile the regular expression '{}' at {}: {}",
                 pattern, offset, message_of(error));
  pcre2_jit_compile(owned->code, PCRE2_JIT_COMPLETE);  // without a JIT it interprets
  code_ = std::move(owned);
}

std::optional<Regex::Span> Regex::find(std::string_view text, size_t from) const {
  return code_->match(text, from, 0);
}

bool Regex::matches_start(std::string_view text) const {
  return code_->match(text, 0, PCRE2_ANCHORED).has_value();
}

}  // namespace emberq
