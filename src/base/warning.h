#pragma once

#include <string>

namespace emberq {

// Prints "emberq: warning: SENTENCE" on stderr, each sentence once: a command may open one model
// several times.
void warn(const std::string& sentence);

}  // namespace emberq
