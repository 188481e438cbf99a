#include "base/file_lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "base/check.h"

namespace emberq {
namespace {

// Each attempt but the last met a file that its owner removed or renamed between open and flock.
constexpr int kAttempts = 1000;

}  // namespace

FileLock::FileLock(const fs::path& path, const fs::path& target) : path_(path) {
  const auto refuse = [&](std::string_view what) {
    const std::string why = std::strerror(errno);
    if (fd_ >= 0) ::close(std::exchange(fd_, -1));
    throw InputError(fmt::format("cannot {} {}: {}", what, path.string(), why));
  };
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    fd_ = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (fd_ < 0) refuse("create");
    if (::flock(fd_, LOCK_EX | LOCK_NB) != 0) {
      if (errno != EWOULDBLOCK) refuse("lock");
      ::close(std::exchange(fd_, -1));
      throw LockedError(fmt::format("another run is writing {}: it holds the lock of {}",
                                    target.string(), path.string()));
    }
    if (is_in_place()) return;
    ::close(std::exchange(fd_, -1));
  }
  throw InputError(fmt::format("cannot lock {}: it does not stay in place", path.string()));
}

FileLock::~FileLock() {
  if (fd_ >= 0) ::close(fd_);
}

bool FileLock::is_in_place() const {
  struct stat locked {
  }, named{};
  return ::fstat(fd_, &locked) == 0 && ::stat(path_.c_str(), &named) == 0 &&
         locked.st_dev == named.st_dev && locked.st_ino == named.st_ino;
}

void FileLock::remove() {
  if (is_in_place()) ::unlink(path_.c_str());
}

}  // namespace emberq
