#include "ops/sample_memory.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/check.h"

namespace emberq {
namespace {

void require_in_range(const SampleRow& row) {
  const auto positive = [](double x) { return x > 0 && std::isfinite(x); };
  EMBERQ_CHECK(positive(row.repetition_penalty), "sample: a repetition penalty of {}",
               row.repetition_penalty);
  if (row.greedy) return;
  EMBERQ_CHECK(positive(row.temperature), "sample: a temperature of {}", row.temperature);
  EMBERQ_CHECK(row.top_k >= 0, "sample: top_k is {}", row.top_k);
  EMBERQ_CHECK(row.top_p > 0 && row.top_p <= 1, "sample: top_p is {}", row.top_p);
  EMBERQ_CHECK(row.min_p >= 0 && row.min_p <= 1, "sample: min_p is {}", row.min_p);
  EMBERQ_CHECK(row.drawn >= 0 && row.drawn < 1, "sample: {} was drawn", row.drawn);
}

ListedIds append(std::span<const int32_t> ids, int64_t vocabulary, std::vector<int32_t>& listed) {
  const auto begin = int32_t(listed.size());
  for (const int32_t id : ids)
    EMBERQ_CHECK(id >= 0 && id < vocabulary, "token id {} of {} logits", id, vocabulary);
  listed.insert(listed.end(), ids.begin(), ids.end());
  return {begin, int32_t(listed.size())};
}

}  // namespace

Sample SampleMemory::set(const Activations& logits, std::span<const SampleRequest> requests) {
  EMBERQ_CHECK(logits.rows == int64_t(requests.size()), "sample: {} requests for {} rows",
               requests.size(), logits.rows);
  rows_.clear();
  listed_.clear();
  for (const SampleRequest& request : requests) {
    require_in_range(request.row);
    SampleRow& row = rows_.emplace_back(request.row);
    row.seen = append(request.seen, logits.dim, listed_);
    row.forbidden = append(request.forbidden, logits.dim, listed_);
  }

  const std::span<const std::byte> rows = std::as_bytes(std::span(rows_)),
                                   listed = std::as_bytes(std::span(listed_));
  packed_.assign(rows.begin(), rows.end());
  packed_.insert(packed_.end(), listed.begin(), listed.end());
  if (packed_.size() > capacity_) {
    capacity_ = packed_.size() * 2;  // what is listed grows with each token
    memory_ = Buffer(*backend_, capacity_);
  }
  if (rows_.size() > id_capacity_) {
    id_capacity_ = rows_.size();
    ids_ = Buffer(*backend_, id_capacity_ * sizeof(int32_t));
  }
  backend_->upload(memory_.as<void>(), packed_.data(), packed_.size());
  const auto* memory = memory_.as<std::byte>();
  return {.logits = logits,
          .rows = reinterpret_cast<const SampleRow*>(memory),
          .listed = reinterpret_cast<const int32_t*>(memory + rows.size()),
          .ids = ids_.as<int32_t>()};
}

std::span<const int32_t> SampleMemory::ids() {
  on_host_.resize(rows_.size());
  backend_->download(on_host_.data(), ids_.as<void>(), on_host_.size() * sizeof(int32_t));
  backend_->synchronize();
  return on_host_;
}

}  // namespace emberq
