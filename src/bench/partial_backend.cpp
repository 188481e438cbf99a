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

namespace {

std::string operation_of(const Linear& op) {
  return fmt::format("linear {} x {}", op.weight->n, op.weight->k);
}

}  // namespace

void PartialBackend::run(const Linear& op) { forward(operation_of(op), op); }

void PartialBackend::run_together(std::span<const Linear> linears) {
  std::vector<Linear> kept;
  for (const Linear& op : linears) {
    count(operation_of(op), cost(op).bytes);
    if (operation_of(op) != left_out_) kept.push_back(op);
  }
  whole().run_together(kept);
}

void PartialBackend::count(const std::string& operation, double bytes) {
  if (recording_) return;
  auto found = std::ranges::find(calls_, operation, &OperationCalls::operation);
  if (found == calls_.end()) found = calls_.insert(found, {.operation = operation});
  found->calls += 1, found->bytes += bytes;
}

}  // namespace emberq::bench
