#include "engine/logit_rules.h"

#include <algorithm>

namespace emberq {
namespace {

// Every n tokens in a row whose first n - 1 are the text's last forbid their last.
void forbid_ngrams(int64_t n, std::span<const int> ids, std::vector<int32_t>& forbidden) {
  const auto length = int64_t(ids.size());
  if (length < n) return;
  const auto end = ids.last(size_t(n - 1));
  for (int64_t first = 0; first + n <= length; ++first) {
    const auto ngram = ids.subspan(size_t(first), size_t(n));
    if (std::ranges::equal(ngram.first(size_t(n - 1)), end)) forbidden.push_back(ngram.back());
  }
}

void forbid_word(const std::vector<int>& word, std::span<const int> ids,
                 std::span<const int> eos_ids, std::vector<int32_t>& forbidden) {
  const std::span<const int> before = std::span(word).first(word.size() - 1);
  if (before.empty() && std::ranges::find(eos_ids, word.back()) != eos_ids.end()) return;
  if (before.size() <= ids.size() && std::ranges::equal(ids.last(before.size()), before))
    forbidden.push_back(word.back());
}

}  // namespace

std::vector<int32_t> forbidden(const LogitRules& rules, const TokensSoFar& so_far,
                               std::span<const int> eos_ids, int64_t vocab) {
  const auto length = int64_t(so_far.ids.size()), fresh = length - so_far.prompt;
  std::vector<int32_t> result;
  const auto append = [&](std::span<const int> ids) {
    result.insert(result.end(), ids.begin(), ids.end());
  };
  if (rules.no_repeat_ngram_size > 0) forbid_ngrams(rules.no_repeat_ngram_size, so_far.ids, result);
  for (const std::vector<int>& word : rules.bad_words)
    forbid_word(word, so_far.ids, eos_ids, result);
  if (length < rules.min_length || fresh < rules.min_new_tokens) append(eos_ids);
  append(rules.suppress);
  if (fresh == 0) append(rules.begin_suppress);
  // Ids outside the vocabulary have no logit to rule out.
  std::erase_if(result, [&](int32_t id) { return id < 0 || id >= vocab; });
  return result;
}

}  // namespace emberq
