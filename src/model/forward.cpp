#include "base/check.h"
#include "base/interrupt.h"
#include "model/model.h"
#include "model/token_ids.h"

namespace emberq {

Activations Model::forward(std::span<const NewTokens> batch, KvPool& pool) {
  ids_.clear();
  std::vector<KvPool::Growth> growths;
  std::vector<BatchEntry> entries;
  for (const auto& [new_ids, sequence] : batch) {
    const int64_t tokens = int64_t(new_ids.size()), length = sequence->length() + tokens;
    EMBERQ_CHECK(tokens > 0, "forward: no tokens");
    EMBERQ_REQUIRE(length <= config_->max_positions, "position {} is past the model's last, {}",
                   length - 1, config_->max_positions - 1);
    require_in_vocabulary(new_ids, embedding_.n, "the model's input", sequence->length());
    ids_.insert(ids_.end(), new_ids.begin(), new_ids.end());
    growths.push_back({sequence, length});
    entries.push_back({tokens, sequence});
  }
  pool.reserve(growths);

  runner_.begin(entries);
  runner_.embed(embedding_, ids_);
  for (size_t i = 0; i < layers_.size(); ++i) {
    check_interrupt();
    runner_.run(layers_[i], pool.layer(int64_t(i)));
    if (after_block_) after_block_();
  }
  for (const auto& [new_ids, sequence] : batch) sequence->extend(int64_t(new_ids.size()));
  return runner_.normalized(runner_.hidden(), final_norm_);
}

Activations Model::forward(std::span<const int> ids, KvSequence& sequence) {
  const NewTokens batch[] = {{ids, &sequence}};
  return forward(batch, sequence.pool());
}

void Model::logits(const Activations& hidden, const int32_t* rows, const Activations& out) {
  backend_->run(Linear{.x = hidden, .weight = &head_, .rows = rows, .out = out});
}

}  // namespace emberq
