#include "ops/batch_memory.h"

#include <algorithm>

#include "base/check.h"

namespace emberq {

const Batch& BatchMemory::set(std::span<const BatchEntry> entries, const BatchPadding& padding) {
  batch_ = {.max_pages = padding.max_pages};
  on_host_.clear();
  packed_.clear();
  for (const BatchEntry& entry : entries) {
    const int64_t position = entry.sequence->length();
    EMBERQ_CHECK(entry.new_tokens > 0 && position + entry.new_tokens <= entry.sequence->capacity(),
                 "a batch with {} new tokens of a sequence of {} in pages for {}", entry.new_tokens,
                 position, entry.sequence->capacity());
    on_host_.push_back({entry.new_tokens, position + entry.new_tokens});
    batch_.tokens += entry.new_tokens;
    batch_.max_pages = std::max(batch_.max_pages, int64_t(entry.sequence->pages().size()));
    for (int64_t t = 0; t < entry.new_tokens; ++t) packed_.push_back(int32_t(position + t));
  }
  for (int64_t row = 0; row < padding.rows; ++row) {
    on_host_.push_back({1, 1});
    packed_.push_back(0);
  }
  batch_.tokens += padding.rows;
  const size_t q_begin = packed_.size();
  packed_.push_back(0);
  for (const BatchSequence& s : on_host_) packed_.push_back(packed_.back() + int32_t(s.new_tokens));
  const size_t kv_length = packed_.size();
  for (const BatchSequence& s : on_host_) packed_.push_back(int32_t(s.kv_length));
  const size_t pages = packed_.size();
  for (const BatchEntry& entry : entries) {
    const auto& listed = entry.sequence->pages();
    packed_.insert(packed_.end(), listed.begin(), listed.end());
    packed_.resize(packed_.size() + size_t(batch_.max_pages) - listed.size());
  }
  for (int64_t row = 0; row < padding.rows; ++row) {
    packed_.push_back(padding.page);
    packed_.resize(packed_.size() + size_t(batch_.max_pages) - 1);
  }

  if (packed_.size() > capacity_) {
    ++moves_;
    capacity_ = packed_.size() * 2;  // a sequence's pages grow one by one
    memory_ = Buffer(*backend_, capacity_ * sizeof(int32_t));
  }
  const auto* memory = memory_.as<int32_t>();
  backend_->upload(memory_.as<void>(), packed_.data(), packed_.size() * sizeof(int32_t));
  batch_.positions = memory;
  batch_.q_begin = memory + q_begin;
  batch_.kv_length = memory + kv_length;
  batch_.pages = memory + pages;
  batch_.on_host = on_host_;
  return batch_;
}

}  // namespace emberq
