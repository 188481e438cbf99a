#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "ops/backend.h"

namespace emberq {

// What the id of a row is chosen by, on the host.
struct SampleRequest {
  SampleRow row;                             // without its lists
  std::span<const int32_t> seen, forbidden;  // ids of the vocabulary; of those seen each once
};

// The operands of a Sample, in a backend's memory, and its ids on the host.
class SampleMemory {
 public:
  explicit SampleMemory(Backend& backend) : backend_(&backend) {}

  // Chooses by a request for each row of logits, valid until the next call. The ids of the call
  // before have been read. Error where a request is out of range.
  Sample set(const Activations& logits, std::span<const SampleRequest> requests);
  // Waits for what the last operation wrote; one copy for all rows.
  std::span<const int32_t> ids();

 private:
  Backend* backend_;
  Buffer memory_;                  // rows, then the ids that they list
  Buffer ids_;                     // [rows]
  size_t capacity_ = 0;            // of memory_, in bytes
  size_t id_capacity_ = 0;         // of ids_
  std::vector<SampleRow> rows_;    // of the last call
  std::vector<int32_t> listed_;    // likewise
  std::vector<std::byte> packed_;  // both
  std::vector<int32_t> on_host_;
};

}  // namespace emberq
