#include "ops/backend.h"

#include <chrono>

#include "base/check.h"

namespace emberq {

std::vector<double> Backend::time(const std::function<void()>& calls, int repeats) {
  const auto run = [&] {
    const auto start = std::chrono::steady_clock::now();
    calls();
    synchronize();
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  };
  run();  // warms caches and threads
  std::vector<double> seconds;
  for (int i = 0; i < repeats; ++i) seconds.push_back(run());
  return seconds;
}

void Backend::refuse(std::string_view operation) const {
  throw Error(fmt::format("the {} backend has no {} operation", name(), operation));
}

Buffer upload(Backend& backend, const std::vector<float>& values) {
  Buffer buffer(backend, values.size() * sizeof(float));
  backend.upload(buffer.as<void>(), values.data(), values.size() * sizeof(float));
  backend.synchronize();  // the values may go when this returns
  return buffer;
}

}  // namespace emberq
