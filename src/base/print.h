#pragma once

#include <fmt/format.h>

#include <string_view>
#include <utility>

// The only door to standard output and standard error.
namespace emberq {

// Of the descriptors 0, 1 and 2, those that the program was started without are opened so that
// reading or writing them fails, as it would have: no file that is opened later takes their place.
void keep_standard_streams_apart();

// To standard output. InputError where it is closed or on a full disk; where its reader has gone,
// SIGPIPE ends the program, or it is that error where the signal is ignored.
void write_out(std::string_view text);
void flush_out();  // what is not flushed is not known to be written

template <class... T>
void print_out(fmt::format_string<T...> format, T&&... values) {
  write_out(fmt::format(format, std::forward<T>(values)...));
}

// To standard error. That it fails has nowhere to be told.
void write_error(std::string_view text) noexcept;

}  // namespace emberq
