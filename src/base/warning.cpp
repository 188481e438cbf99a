#include "base/warning.h"

#include <fmt/format.h>

#include <mutex>
#include <unordered_set>

#include "base/print.h"

namespace emberq {

void warn(const std::string& sentence) {
  static std::mutex mutex;
  static std::unordered_set<std::string> said;
  const std::lock_guard lock(mutex);
  if (said.insert(sentence).second) write_error(fmt::format("emberq: warning: {}\n", sentence));
}

}  // namespace emberq
