#pragma once

#include <string_view>

// White space and word characters at one end of a text, as Rust's regex crate knows them.
namespace emberq {

// \w of Rust's regex crate, as Oniguruma writes it.
inline constexpr std::string_view kRustWord =
    R"([\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\p{Join_Control}])";

bool word_at_start(std::string_view text);
bool word_at_end(std::string_view text);
size_t space_at_start(std::string_view text);  // its length
size_t space_at_end(std::string_view text);    // where it begins

}  // namespace emberq
