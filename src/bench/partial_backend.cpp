#include "bench/partial_backend.h"

#include <fmt/format.h>

#include <algorithm>

namespace emberq::bench {

std::unique_ptr<Recording> PartialBackend::record(const std::function<void()>& calls) {
  recording_ = true;
  auto recording = whole_->record(calls);
  recording_ = false;
  return recording;
}

void PartialBackend::run(const Linear& op) {
  forward(fmt::format("linear {} x {}", op.weight->n, op.weight->k), op);
}

void PartialBackend::count(const std::string& operation, double bytes) {
  if (recording_) return;
  auto found = std::ranges::find(calls_, operation, &OperationCalls::operation);
  if (found == calls_.end()) found = calls_.insert(found, {.operation = operation});
  found->calls += 1, found->bytes += bytes;
}

}  // namespace emberq::bench
