#include "eval/likelihood.h"

#include <algorithm>
#include <cmath>

#include "base/check.h"
#include "eval/log_probability.h"
#include "model/token_ids.h"

namespace emberq {
namespace {

// Rows of logits that a continuation's tokens are judged by at a time; few have more.
constexpr int64_t kRows = 32;
// Tokens of a long context that run at a time, so that the workspace stays small.
constexpr int64_t kTokensPerPass = 2048;

std::vector<int> join(std::span<const int> context, std::span<const int> continuation) {
  std::vector<int> ids(context.begin(), context.end());
  ids.insert(ids.end(), continuation.begin(), continuation.end());
  return ids;
}

}  // namespace

TokenPair encode_pair(const Tokenizer& tokenizer, std::string_view context,
                      std::string_view continuation, SpecialTokens special) {
  const size_t last = context.find_last_not_of(" \t\n\v\f\r");
  const std::string_view kept = context.substr(0, last == context.npos ? 0 : last + 1);
  const std::string judged = std::string(context.substr(kept.size())) + std::string(continuation);
  TokenPair pair{.context = tokenizer.encode(kept, special),
                 .continuation = tokenizer.encode(std::string(kept) + judged, special)};
  const size_t shared = std::min(pair.context.size(), pair.continuation.size());
  pair.continuation.erase(pair.continuation.begin(), pair.continuation.begin() + ptrdiff_t(shared));
  EMBERQ_REQUIRE(!pair.continuation.empty(), "\"{}\" adds no token to what is before it", judged);
  if (pair.context.empty()) {
    const std::optional<int> start = tokenizer.bos_id() ? tokenizer.bos_id() : tokenizer.eos_id();
    EMBERQ_REQUIRE(
        start.has_value(),
        "the tokenizer has neither a BOS nor an EOS token to stand for an empty context");
    pair.context = {*start};
  }
  return pair;
}

// The last token is judged but never run; it is not in the cache.
LikelihoodScorer::LikelihoodScorer(Model& model, int64_t longest)
    : model_(&model),
      pool_(model.make_pool(std::clamp<int64_t>(longest - 1, 1, model.config().max_positions))),
      sequence_(pool_),
      logits_(model, kRows) {}

// Hidden states of the input from first_predicted on. What is before it always runs apart, so that
// equal continuations have equal likelihoods, whichever of them came first.
Activations LikelihoodScorer::run(int64_t first_predicted, const std::vector<int>& input) {
  const auto same =
      std::mismatch(input.begin(), input.begin() + first_predicted, cached_.begin(), cached_.end());
  int64_t position = same.first - input.begin();
  cached_.resize(size_t(position));  // holds even where a pass is interrupted
  sequence_.truncate(position);
  while (position < first_predicted) {
    const int64_t count = std::min(kTokensPerPass, first_predicted - position);
    model_->forward(std::span(input).subspan(size_t(position), size_t(count)), sequence_);
    position += count;
  }
  const Activations hidden = model_->forward(std::span(input).subspan(size_t(position)), sequence_);
  cached_ = input;
  return hidden;
}

Likelihood LikelihoodScorer::score(std::span<const int> context,
                                   std::span<const int> continuation) {
  EMBERQ_CHECK(!context.empty() && !continuation.empty(), "{} tokens of context, {} to judge",
               context.size(), continuation.size());
  require_in_vocabulary(context, model_->config().vocab_size, "the context");
  require_in_vocabulary(continuation, model_->config().vocab_size, "the continuation");
  const int64_t positions = model_->config().max_positions, judged = int64_t(continuation.size());
  EMBERQ_REQUIRE(judged <= positions, "a continuation has {} tokens, the model {} positions",
                 judged, positions);
  std::vector<int> input = join(context, continuation.first(size_t(judged - 1)));
  if (int64_t(input.size()) > positions) input.erase(input.begin(), input.end() - positions);
  EMBERQ_CHECK(int64_t(input.size()) <= pool_.page_tokens(), "{} tokens in a cache of {}",
               input.size(), pool_.page_tokens());

  const Activations hidden = run(int64_t(input.size()) - judged, input);
  Likelihood result{.greedy = true};
  for (int64_t first = 0; first < judged; first += kRows) {
    const int64_t rows = std::min(kRows, judged - first);
    const Matrix<const float> logits = logits_.on_host(hidden.slice(first, rows));
    for (int64_t r = 0; r < rows; ++r) {
      const std::span<const float> row(logits.row(r), size_t(logits.cols));
      const int id = continuation[size_t(first + r)];
      result.log_p += log_probability(row, id);
      result.greedy = result.greedy && top_id(row) == id;
    }
  }
  EMBERQ_CHECK(std::isfinite(result.log_p), "the model's logits are not finite");
  return result;
}

}  // namespace emberq
