#include "base/interrupt.h"

#include <gtest/gtest.h>

#include <csignal>

#include "base/progress.h"
#include "support/refusal.h"

namespace emberq::interrupt_test {
namespace {

// Each in a process of its own: an interrupt is not taken back.
[[noreturn]] void exit_with(const std::string& message) {
  std::fputs(message.c_str(), stderr);
  std::exit(3);
}

TEST(Interrupt, IsNotThereBeforeASignal) {
  catch_interrupts();
  EXPECT_EQ(refusal([] { check_interrupt(); }), "");
}

TEST(Interrupt, IsAnInputErrorAtTheNextCheckAfterASignal) {
  for (const int signal : {SIGINT, SIGTERM})
    EXPECT_EXIT(
        {
          catch_interrupts();
          std::raise(signal);
          exit_with(refusal([] { check_interrupt(); }));
        },
        testing::ExitedWithCode(3), "^interrupted$");
}

TEST(Interrupt, EndsTheProgramTheSecondTime) {
  EXPECT_EXIT(
      {
        catch_interrupts();
        std::raise(SIGINT);
        std::raise(SIGINT);
        exit_with("survived");
      },
      testing::KilledBySignal(SIGINT), "");
}

TEST(Progress, StopsAtTheStepAfterASignal) {
  EXPECT_EXIT(
      {
        catch_interrupts();
        Progress progress("work", 3);
        progress.step();
        std::raise(SIGINT);
        exit_with(refusal([&] { progress.step(); }));
      },
      testing::ExitedWithCode(3), "^interrupted$");
}

TEST(Progress, IsSilentWhereStderrIsNoTerminal) {
  testing::internal::CaptureStderr();
  {
    Progress progress("work", 2);
    progress.step();
    progress.step("done");
  }
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "");
}

}  // namespace
}  // namespace emberq::interrupt_test
