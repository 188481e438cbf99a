#pragma once

#include <span>
#include <vector>

#include "model/logit_rows.h"
#include "model/model.h"

namespace emberq {

// The most likely next tokens of a batch, by the backend; one copy of ids.
class NextTokens {
 public:
  NextTokens(Model& model, int most)
      : model_(&model),
        logits_(model, most),
        ids_(model.backend(), size_t(most) * sizeof(int32_t)),
        host_(size_t(most)) {}

  // After these rows of hidden states. Valid until the next call.
  std::span<const int32_t> of(const Activations& hidden, std::span<const int32_t> rows) {
    const Activations logits = logits_.on_backend(hidden, rows);
    Backend& backend = model_->backend();
    backend.run(Argmax{.logits = logits, .ids = ids_.as<int32_t>()});
    backend.download(host_.data(), ids_.as<void>(), rows.size_bytes());
    backend.synchronize();
    return std::span(host_).first(rows.size());
  }

 private:
  Model* model_;
  LogitRows logits_;
  Buffer ids_;
  std::vector<int32_t> host_;
};

}  // namespace emberq
