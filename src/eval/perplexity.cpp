#include "eval/perplexity.h"

#include <algorithm>
#include <chrono>
#include <cmath>

#include "base/check.h"
#include "base/progress.h"
#include "model/logit_rows.h"
#include "model/token_ids.h"

namespace emberq {
namespace {

// -log p of ids[1...] given what is before, summed.
double window_nll(Model& model, std::span<const int> ids, KvSequence& sequence, LogitRows& logits) {
  Backend& backend = model.backend();
  const int64_t predicted = int64_t(ids.size()) - 1;
  sequence.truncate(0);
  const Activations hidden = model.forward(ids, sequence);

  const Buffer targets(backend, size_t(predicted) * sizeof(int32_t));
  const Buffer nll(backend, size_t(predicted) * sizeof(float));
  backend.upload(targets.as<void>(), ids.data() + 1, size_t(predicted) * sizeof(int32_t));
  for (int64_t first = 0; first < predicted; first += logits.capacity()) {
    const int64_t rows = std::min(logits.capacity(), predicted - first);
    backend.run(CrossEntropy{.logits = logits.on_backend(hidden.slice(first, rows)),
                             .targets = targets.as<int32_t>() + first,
                             .nll = nll.as<float>() + first});
  }
  std::vector<float> host(static_cast<size_t>(predicted));
  backend.download(host.data(), nll.as<void>(), host.size() * sizeof(float));
  backend.synchronize();
  double sum = 0;
  for (const float x : host) sum += double(x);
  return sum;
}

}  // namespace

int64_t count_windows(const ModelConfig& config, std::span<const int> ids,
                      const PerplexityOptions& options) {
  const int64_t window = options.window;
  EMBERQ_REQUIRE(window >= 2, "a window needs at least 2 tokens, got {}", window);
  EMBERQ_REQUIRE(options.max_windows >= 0, "the number of windows must not be negative, got {}",
                 options.max_windows);
  EMBERQ_REQUIRE(window <= config.max_positions,
                 "a window of {} tokens is longer than the model's {} positions", window,
                 config.max_positions);
  EMBERQ_REQUIRE(int64_t(ids.size()) >= window, "the text has {} tokens, less than a window of {}",
                 ids.size(), window);
  const int64_t windows = int64_t(ids.size()) / window;
  return options.max_windows > 0 ? std::min(windows, options.max_windows) : windows;
}

Perplexity perplexity(Model& model, std::span<const int> ids, const PerplexityOptions& options) {
  const auto start = std::chrono::steady_clock::now();
  const int64_t window = options.window;
  Perplexity result{.windows = count_windows(model.config(), ids, options), .seq_len = window};
  require_in_vocabulary(ids.first(size_t(result.windows * window)), model.config().vocab_size,
                        "the text");
  KvPool pool = model.make_pool(window);
  KvSequence sequence(pool);
  LogitRows logits(model, std::min(kLogitRows, window - 1));
  Progress progress("evaluate", result.windows);
  for (int64_t w = 0; w < result.windows; ++w) {
    const double nll =
        window_nll(model, ids.subspan(size_t(w * window), size_t(window)), sequence, logits);
    EMBERQ_CHECK(std::isfinite(nll), "the model's logits in window {} are not finite", w);
    result.nll_sum += nll;
    result.predicted_tokens += window - 1;
    progress.step(
        fmt::format("ppl {:.3f}", std::exp(result.nll_sum / double(result.predicted_tokens))));
  }
  result.ppl = std::exp(result.nll_sum / double(result.predicted_tokens));
  result.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return result;
}

}  // namespace emberq
