#pragma once

#include <source_location>
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

[[noreturn]] void fail(const char* condition, const std::string& message,
                       std::source_location where = std::source_location::current());

}  // namespace emberq
