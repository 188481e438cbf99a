#pragma once

#include <optional>
#include <vector>

#include "base/file.h"
#include "checkpoint/checkpoint.h"
#include "model/logit_rows.h"

namespace emberq::test {

// Logits [rows, vocab] of hidden states.
inline std::vector<float> logits_of(Model& model, const Activations& hidden) {
  LogitRows rows(model, hidden.rows);
  const Matrix<const float> logits = rows.on_host(hidden);
  return {logits.data, logits.data + logits.rows * logits.cols};
}

// Ids of a tiny model's vocabulary (support/tiny_model.h), none twice.
inline std::vector<int> some_ids() {
  std::vector<int> ids;
  for (int i = 0; i < 40; ++i) ids.push_back((i * 797 + 13) % 8192);
  return ids;
}
// Their logits, by the CPU.
inline std::vector<float> logits_of(const fs::path& folder,
                                    std::optional<KvScheme> kv = std::nullopt) {
  const auto backend = make_cpu_backend();
  Model model = Model::load(Checkpoint::open(folder), *backend, kv);
  KvPool pool = model.make_pool(64);
  KvSequence sequence(pool);
  return logits_of(model, model.forward(some_ids(), sequence));
}

}  // namespace emberq::test
