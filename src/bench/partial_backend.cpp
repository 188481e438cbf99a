#include "bench/partial_backend.h"

#include <fmt/format.h>

#include <algorithm>

namespace emberq::bench {

std::unique_ptr<Recording> PartialBackend::record(const std::function<void()>& calls) {
  recording_ = true;
  auto recording = whole().record(calls);
  recording_ = false;
  return recording;
}

std::string PartialBackend::operation_of(const Linear& op) {
  return fmt::format("{} {} x {}", operation_name<Linear>(), op.weight->n, op.weight->k);
}

void PartialBackend::run_together(std::span<const Linear> linears) {
  std::vector<Linear> kept;
  for (const Linear& op : linears)
    if (keeps(op)) kept.push_back(op);
  whole().run_together(kept);
}

void PartialBackend::count(const std::string& operation, double bytes) {
  if (recording_) return;
  auto found = std::ranges::find(calls_, operation, &OperationCalls::operation);
  if (found == calls_.end()) found = calls_.insert(found, {.operation = operation});
  found->calls += 1, found->bytes += bytes;
}

}  // namespace emberq::bench
