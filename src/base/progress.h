#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

namespace emberq {

// One line on stderr that counts up ("quantize: layer 3/32, 12 s left"); silent where stderr is no
// terminal. Each step also asks whether the user pressed Ctrl-C.
class Progress {
 public:
  Progress(std::string_view label, int64_t total);
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  void step(std::string_view note = "");  // one more of `total` is done; throws on an interrupt

 private:
  void clear();

  std::string label_;
  int64_t total_ = 0, done_ = 0;
  bool visible_ = false;
  std::chrono::steady_clock::time_point start_;
};

}  // namespace emberq
