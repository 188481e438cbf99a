#include "base/print.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

#include "base/check.h"

namespace emberq {
namespace {

void require_out(bool written) {
  EMBERQ_REQUIRE(written, "cannot write standard output: {}", std::strerror(errno));
}

}  // namespace

void keep_standard_streams_apart() {
  for (const int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO})
    if (::fcntl(fd, F_GETFD) < 0 && errno == EBADF)
      (void)::open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY);  // takes the lowest: fd
}

void write_out(std::string_view text) {
  require_out(std::fwrite(text.data(), 1, text.size(), stdout) == text.size());
}

void flush_out() { require_out(std::fflush(stdout) == 0 && std::ferror(stdout) == 0); }

void write_error(std::string_view text) noexcept {
  std::fwrite(text.data(), 1, text.size(), stderr);
  std::fflush(stderr);
}

}  // namespace emberq
