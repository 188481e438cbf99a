#include "engine/logit_rules.h"

#include <algorithm>
#include <limits>
#include <set>

#include "base/check.h"

namespace emberq {
namespace {

// Ids outside the vocabulary have no logit to rule out.
void rule_out(int id, std::span<float> logits) {
  if (id >= 0 && size_t(id) < logits.size())
    logits[size_t(id)] = -std::numeric_limits<float>::infinity();
}

void penalize_repetition(double penalty, std::span<const int> ids, std::span<float> logits) {
  for (const int id : std::set<int>(ids.begin(), ids.end())) {
    EMBERQ_CHECK(id >= 0 && size_t(id) < logits.size(), "token id {} of {} logits", id,
                 logits.size());
    float& logit = logits[size_t(id)];
    logit = float(logit < 0 ? double(logit) * penalty : double(logit) / penalty);
  }
}

// Every n tokens in a row whose first n - 1 are the text's last forbid their last.
void forbid_ngrams(int64_t n, std::span<const int> ids, std::span<float> logits) {
  const auto length = int64_t(ids.size());
  if (length < n) return;
  const auto end = ids.last(size_t(n - 1));
  for (int64_t first = 0; first + n <= length; ++first) {
    const auto ngram = ids.subspan(size_t(first), size_t(n));
    if (std::ranges::equal(ngram.first(size_t(n - 1)), end)) rule_out(ngram.back(), logits);
  }
}

void forbid_word(const std::vector<int>& word, std::span<const int> ids,
                 std::span<const int> eos_ids, std::span<float> logits) {
  const std::span<const int> before = std::span(word).first(word.size() - 1);
  if (before.empty() && std::ranges::find(eos_ids, word.back()) != eos_ids.end()) return;
  if (before.size() <= ids.size() && std::ranges::equal(ids.last(before.size()), before))
    rule_out(word.back(), logits);
}

}  // namespace

void apply(const LogitRules& rules, const TokensSoFar& so_far, std::span<const int> eos_ids,
           std::span<float> logits) {
  const auto length = int64_t(so_far.ids.size()), fresh = length - so_far.prompt;
  if (rules.repetition_penalty != 1)
    penalize_repetition(rules.repetition_penalty, so_far.ids, logits);
  if (rules.no_repeat_ngram_size > 0) forbid_ngrams(rules.no_repeat_ngram_size, so_far.ids, logits);
  for (const std::vector<int>& word : rules.bad_words)
    forbid_word(word, so_far.ids, eos_ids, logits);
  if (length < rules.min_length || fresh < rules.min_new_tokens)
    for (const int id : eos_ids) rule_out(id, logits);
  for (const int id : rules.suppress) rule_out(id, logits);
  if (fresh == 0)
    for (const int id : rules.begin_suppress) rule_out(id, logits);
}

}  // namespace emberq
