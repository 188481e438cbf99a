#include "bench/partial_backend.h"

#include <fmt/format.h>

#include <algorithm>

namespace emberq::bench {

void PartialBackend::run(const Linear& op) {
  forward(fmt::format("linear {} x {}", op.weight->n, op.weight->k), op);
}

void PartialBackend::count(const std::string& operation, double bytes) {
  auto found = std::ranges::find(calls_, operation, &OperationCalls::operation);
  if (found == calls_.end()) found = calls_.insert(found, {.operation = operation});
  found->calls += 1, found->bytes += bytes;
}

}  // namespace emberq::bench
