#include "base/check.h"
#include "base/interrupt.h"
#include "model/model.h"

namespace emberq {

Activations Model::forward(std::span<const int> ids, KvCache& cache) {
  const int64_t tokens = int64_t(ids.size()), position = cache.length();
  EMBERQ_CHECK(tokens > 0, "forward: no tokens");
  EMBERQ_REQUIRE(position + tokens <= config_->max_positions,
                 "position {} is past the model's last, {}", position + tokens - 1,
                 config_->max_positions - 1);
  runner_.begin(tokens, position);
  runner_.embed(embedding_, ids);
  for (size_t i = 0; i < layers_.size(); ++i) {
    check_interrupt();
    runner_.run(layers_[i], cache.layer(int64_t(i)));
    if (after_block_) after_block_();
  }
  cache.set_length(position + tokens);
  return runner_.normalized(runner_.hidden(), final_norm_);
}

void Model::logits(const Activations& hidden, const Activations& out) {
  backend_->run(Linear{.x = hidden, .weight = &head_, .out = out});
}

std::vector<float> Model::logits(const Activations& hidden) {
  const int64_t vocab = config_->vocab_size;
  Buffer buffer(*backend_, size_t(hidden.rows * vocab) * sizeof(float));
  logits(hidden, {DType::kF32, buffer.as<void>(), nullptr, hidden.rows, vocab});
  std::vector<float> host(size_t(hidden.rows * vocab));
  backend_->download(host.data(), buffer.as<void>(), host.size() * sizeof(float));
  backend_->synchronize();
  return host;
}

}  // namespace emberq
