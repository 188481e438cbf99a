#include <algorithm>
#include <array>
#include <bit>

#include "base/check.h"
#include "base/interrupt.h"
#include "model/model.h"
#include "model/token_ids.h"

namespace emberq {
namespace {

// A step of single tokens is recorded for these numbers of rows; a batch takes the next one.
constexpr std::array<int64_t, 20> kRecordedRows = {1,  2,  4,  8,   16,  24,  32,  40,  48,  56,
                                                   64, 80, 96, 112, 128, 160, 192, 224, 256, 512};

}  // namespace

Activations Model::forward(std::span<const NewTokens> batch, KvPool& pool) {
  ids_.clear();
  std::vector<KvPool::Growth> growths;
  std::vector<BatchEntry> entries;
  bool single = true;  // a token for each sequence
  for (const auto& [new_ids, sequence] : batch) {
    const int64_t tokens = int64_t(new_ids.size()), length = sequence->length() + tokens;
    EMBERQ_CHECK(tokens > 0, "forward: no tokens");
    EMBERQ_REQUIRE(length <= config_->max_positions, "position {} is past the model's last, {}",
                   length - 1, config_->max_positions - 1);
    require_in_vocabulary(new_ids, embedding_.n, "the model's input", sequence->length());
    ids_.insert(ids_.end(), new_ids.begin(), new_ids.end());
    growths.push_back({sequence, length});
    entries.push_back({tokens, sequence});
    single &= tokens == 1;
  }
  pool.reserve(growths);

  Activations hidden;
  if (single && backend_->records() && !after_block_) {
    hidden = run_recorded(entries, pool);
  } else {
    runner_.begin(entries);
    runner_.set_ids(ids_);
    hidden = run_layers(pool);
  }
  for (const auto& [new_ids, sequence] : batch) sequence->extend(int64_t(new_ids.size()));
  return hidden;
}

Activations Model::run_layers(KvPool& pool) {
  runner_.embed(embedding_);
  for (size_t i = 0; i < layers_.size(); ++i) {
    check_interrupt();
    runner_.run(layers_[i], pool.layer(int64_t(i)));
    if (after_block_) after_block_();
  }
  return runner_.normalized(runner_.hidden(), final_norm_);
}

Activations Model::run_recorded(std::span<const BatchEntry> entries, KvPool& pool) {
  const int64_t sequences = int64_t(entries.size());
  int64_t rows = sequences;
  BatchPadding padding;
  if (const auto page = pool.scratch_page()) {
    const auto size = std::ranges::lower_bound(kRecordedRows, sequences);
    if (size != kRecordedRows.end()) rows = *size;
    padding = {.rows = rows - sequences, .page = *page};
  }
  for (const BatchEntry& entry : entries)
    padding.max_pages = std::max(padding.max_pages, int64_t(entry.sequence->pages().size()));
  padding.max_pages = int64_t(std::bit_ceil(uint64_t(padding.max_pages)));

  runner_.begin(entries, padding);
  runner_.set_ids(ids_);
  const auto is_this = [&](const RecordedStep& step) {
    return step.pool == pool.id() && step.rows == rows && step.max_pages == padding.max_pages;
  };
  std::erase_if(steps_, [&](const RecordedStep& step) { return step.moves != runner_.moves(); });
  if (const auto step = std::ranges::find_if(steps_, is_this); step != steps_.end()) {
    check_interrupt();
    step->recording->replay();
    return step->hidden.slice(0, sequences);
  }
  // The first time the step runs as it is, so that all memory is there when it is recorded.
  const Activations hidden = run_layers(pool);
  steps_.push_back({.pool = pool.id(),
                    .rows = rows,
                    .max_pages = padding.max_pages,
                    .moves = runner_.moves(),
                    .hidden = hidden,
                    .recording = backend_->record([&] { run_layers(pool); })});
  return hidden.slice(0, sequences);
}

Activations Model::forward(std::span<const int> ids, KvSequence& sequence) {
  const NewTokens batch[] = {{ids, &sequence}};
  return forward(batch, sequence.pool());
}

void Model::logits(const Activations& hidden, const int32_t* rows, const Activations& out) {
  backend_->run(Linear{.x = hidden, .weight = &head_, .rows = rows, .out = out});
}

}  // namespace emberq
