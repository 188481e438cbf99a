#include "base/file_lock.h"

#include <gtest/gtest.h>
#include <sys/wait.h>

#include <csignal>

#include "support/refusal.h"
#include "support/test_folder.h"

namespace emberq::file_lock_test {
namespace {

TEST(FileLock, IsHeldByOneAtATime) {
  const TestFolder folder;
  const fs::path path = folder.path() / "lock";
  {
    const FileLock first(path, "out");
    EXPECT_THROW(FileLock(path, "out"), LockedError);
    EXPECT_REFUSED(FileLock(path, "out"), "another run is writing out: ", "/lock");
  }
  EXPECT_TRUE(FileLock(path, "out").is_in_place());
}

TEST(FileLock, EndsWithTheProcessThatWasKilled) {
  const TestFolder folder;
  const fs::path path = folder.path() / "lock";
  int ready[2];
  ASSERT_EQ(::pipe(ready), 0);
  const pid_t child = ::fork();
  if (child == 0) {
    const FileLock lock(path, "out");
    (void)!::write(ready[1], "x", 1);
    ::pause();
  }
  char byte;
  ASSERT_EQ(::read(ready[0], &byte, 1), 1);
  EXPECT_THROW(FileLock(path, "out"), LockedError);
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
  EXPECT_TRUE(FileLock(path, "out").is_in_place());
  ::close(ready[0]), ::close(ready[1]);
}

TEST(FileLock, OnAFileThatWasRemovedOrReplacedIsOutOfPlaceAndRemovesNothing) {
  const TestFolder folder;
  const fs::path path = folder.path() / "lock";
  FileLock lock(path, "out");
  fs::remove(path);
  EXPECT_FALSE(lock.is_in_place());
  folder.write("lock", "another's");
  EXPECT_FALSE(lock.is_in_place());
  lock.remove();
  EXPECT_EQ(read_text(path), "another's");
}

TEST(FileLock, NamesTheFileThatItCannotMake) {
  const TestFolder folder;
  EXPECT_REFUSED(FileLock(folder.path() / "none" / "lock", "out"), "cannot create ", "none/lock",
                 "No such file");
  EXPECT_REFUSED(FileLock(folder.path(), "out"), "cannot create ", "Is a directory");
}

}  // namespace
}  // namespace emberq::file_lock_test
