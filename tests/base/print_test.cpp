#include "base/print.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <csignal>

#include "support/refusal.h"
#include "support/test_folder.h"

namespace emberq::print_test {
namespace {

// In a process of its own: with standard output as `set_up` leaves it, says how `act` was refused.
template <class SetUp, class Act>
[[noreturn]] void refused_with(const SetUp& set_up, const Act& act) {
  set_up();
  const std::string said = refusal(act);
  (void)!::write(STDERR_FILENO, said.data(), said.size());
  ::_exit(3);
}

void print_a_line() {
  print_out("{} tokens\n", 3);
  flush_out();
}

TEST(PrintOut, IsRefusedOnAFullDisk) {
  EXPECT_EXIT(
      refused_with([] { ::dup2(::open("/dev/full", O_WRONLY), STDOUT_FILENO); }, print_a_line),
      testing::ExitedWithCode(3), "^cannot write standard output: No space left on device$");
}

TEST(PrintOut, IsRefusedWhereStandardOutputIsClosedThoughAFileWasOpenedSince) {
  const TestFolder folder;
  const std::string path = (folder.path() / "a").string();
  const auto closed = [&] {
    ::close(STDOUT_FILENO);
    keep_standard_streams_apart();
    EXPECT_GT(::open(path.c_str(), O_WRONLY | O_CREAT, 0644), STDERR_FILENO);
  };
  EXPECT_EXIT(refused_with(closed, print_a_line), testing::ExitedWithCode(3),
              "^cannot write standard output: Bad file descriptor$");
  EXPECT_EQ(read_text(path), "");
}

TEST(PrintOut, OfMoreThanABufferIsRefusedAtOnce) {
  const auto print_much = [] {
    for (int i = 0; i < 100; ++i) write_out(std::string(100'000, 'x'));
  };
  EXPECT_EXIT(
      refused_with([] { ::dup2(::open("/dev/full", O_WRONLY), STDOUT_FILENO); }, print_much),
      testing::ExitedWithCode(3), "^cannot write standard output: ");
}

TEST(PrintOut, IsRefusedWhereTheReaderHasGoneAndSigpipeIsIgnored) {
  const auto broken = [] {
    int ends[2];
    if (::pipe(ends) != 0) ::_exit(4);
    ::close(ends[0]);
    ::dup2(ends[1], STDOUT_FILENO);
    std::signal(SIGPIPE, SIG_IGN);
  };
  EXPECT_EXIT(refused_with(broken, print_a_line), testing::ExitedWithCode(3), "Broken pipe$");
}

TEST(FlushOut, OfNothingIsNoErrorWhereStandardOutputIsClosed) {
  EXPECT_EXIT(refused_with([] { ::close(STDOUT_FILENO); }, flush_out), testing::ExitedWithCode(3),
              "^$");
}

TEST(WriteError, GoesOnWhereStandardErrorIsFull) {
  EXPECT_EXIT(
      {
        ::dup2(::open("/dev/full", O_WRONLY), STDERR_FILENO);
        write_error("lost\n");
        ::_exit(3);
      },
      testing::ExitedWithCode(3), "");
}

}  // namespace
}  // namespace emberq::print_test
