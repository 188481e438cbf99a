#pragma once

#include "base/error.h"
#include "base/file.h"

namespace emberq {

// Another process holds the lock.
class LockedError : public InputError {
 public:
  using InputError::InputError;
};

// An exclusive lock on a file, which is made where it is absent. The kernel holds it for the open
// file (flock), so it ends with the process, however that ends; on NFS it holds between machines.
class FileLock {
 public:
  // `path` is locked for whoever writes `target`. LockedError where another process has it,
  // InputError where the file cannot be made or its file system has no locks.
  FileLock(const fs::path& path, const fs::path& target);
  ~FileLock();
  FileLock(const FileLock&) = delete;
  FileLock& operator=(const FileLock&) = delete;

  bool is_in_place() const;  // the path still names the locked file
  void remove();             // the file, where it is in place, with the lock still held

 private:
  fs::path path_;
  int fd_ = -1;
};

}  // namespace emberq
