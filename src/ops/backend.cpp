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
  seconds.reserve(size_t(repeats));
  for (int i = 0; i < repeats; ++i) seconds.push_back(run());
  return seconds;
}

std::unique_ptr<Recording> Backend::record(const std::function<void()>&) {
  throw Error(fmt::format("the {} backend does not record operations", name()));
}

void Backend::refuse(std::string_view operation) const {
  throw Error(fmt::format("the {} backend has no {} operation", name(), operation));
}

Buffer upload(Backend& backend, std::span<const std::byte> bytes) {
  Buffer buffer(backend, bytes.size());
  backend.upload(buffer.as<void>(), bytes.data(), bytes.size());
  backend.synchronize();
  return buffer;
}

}  // namespace emberq
