#pragma once

#include <stdexcept>
#include <string>

namespace emberq {

// A run that failed: a broken precondition, a device error. The program exits with status 1.
class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// Something the user gave that cannot be used: an argument, a file, a full disk, Ctrl-C. The
// message is one sentence that names the file, tensor or key. The program exits with status 2.
class InputError : public Error {
 public:
  using Error::Error;
};

// The builtins rather than std::source_location, which clang 14 (lint, fuzz) does not have.
[[noreturn]] void fail(const char* condition, const std::string& message,
                       const char* file = __builtin_FILE(), int line = __builtin_LINE());

}  // namespace emberq
