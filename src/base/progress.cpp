#include "base/progress.h"

#include <fmt/format.h>
#include <unistd.h>

#include "base/interrupt.h"
#include "base/print.h"

namespace emberq {

Progress::Progress(std::string_view label, int64_t total)
    : label_(label),
      total_(total),
      visible_(::isatty(STDERR_FILENO) == 1),
      start_(std::chrono::steady_clock::now()) {}

Progress::~Progress() { clear(); }

void Progress::clear() {
  if (visible_) write_error("\r\033[K");
}

void Progress::step(std::string_view note) {
  check_interrupt();
  ++done_;
  if (!visible_) return;
  const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start_;
  const double left = elapsed.count() / double(done_) * double(total_ - done_);
  clear();
  write_error(fmt::format("{}: {}/{}{}{}, {:.0f} s left", label_, done_, total_,
                          note.empty() ? "" : ", ", note, left));
}

}  // namespace emberq
