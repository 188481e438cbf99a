#include "text/bpe.h"

#include <algorithm>
#include <queue>

#include "base/check.h"
#include "base/interrupt.h"
#include "text/unicode.h"

namespace emberq {

void Vocabulary::add(const std::string& token, int64_t id, const std::string& where) {
  EMBERQ_REQUIRE(id >= 0 && id < (1 << 24), "{}: the token '{}' has the id {}", where, token, id);
  const size_t i = size_t(id);
  if (i >= texts_.size()) texts_.resize(i + 1), present_.resize(i + 1);
  const auto [entry, is_new] = ids_.emplace(token, int(id));
  EMBERQ_REQUIRE(entry->second == int(id), "{}: the token '{}' has two ids, {} and {}", where,
                 token, entry->second, id);
  EMBERQ_REQUIRE(!is_new || !present_[i], "{}: the id {} has two tokens, '{}' and '{}'", where, id,
                 texts_[i], token);
  texts_[i] = token;
  present_[i] = true;
}

int Vocabulary::find(std::string_view token) const {
  const auto found = ids_.find(token);
  return found == ids_.end() ? -1 : found->second;
}

void Bpe::add_merge(std::string_view left, std::string_view right, const std::string& where) {
  const std::string whole = std::string(left) + std::string(right);
  const int l = vocabulary_.find(left), r = vocabulary_.find(right),
            merged = vocabulary_.find(whole);
  EMBERQ_REQUIRE(l >= 0 && r >= 0 && merged >= 0,
                 "{}: the merge of '{}' and '{}' needs the token '{}'", where, left, right,
                 l < 0   ? left
                 : r < 0 ? right
                         : std::string_view(whole));
  add_merge(l, r, merged, int(merges_.size()));
}

void Bpe::add_merge(int left, int right, int merged, int rank) {
  merges_.emplace(key(left, right), Merge{rank, merged});
}

std::vector<int> Bpe::characters(std::string_view word) const {
  std::vector<int> ids;
  bool after_unknown = false;
  for (size_t at = 0; at < word.size();) {
    const std::string_view character = word.substr(at, utf8_length_of(word[at]));
    at += character.size();
    if (const int id = vocabulary_.find(character); id >= 0) {
      ids.push_back(id);
      after_unknown = false;
      continue;
    }
    if (options_.byte_fallback) {
      std::vector<int> bytes;
      for (const char byte : character)
        bytes.push_back(
            vocabulary_.find(fmt::format("<0x{:02X}>", static_cast<unsigned char>(byte))));
      if (std::find(bytes.begin(), bytes.end(), -1) == bytes.end()) {
        ids.insert(ids.end(), bytes.begin(), bytes.end());
        after_unknown = false;
        continue;
      }
    }
    if (options_.unk_id >= 0 && !(options_.fuse_unk && after_unknown))
      ids.push_back(options_.unk_id);
    after_unknown = true;
  }
  return ids;
}

void Bpe::merge_all(std::vector<int>& ids) const {
  struct Candidate {
    int rank, left;  // places in `ids`
    uint64_t pair;   // what stood there; another pair now means that this candidate is stale
    int merged;
    bool operator<(const Candidate& other) const {  // the queue's top is the largest
      return rank != other.rank ? rank > other.rank : left > other.left;
    }
  };
  const int n = int(ids.size());
  std::vector<int> next(ids.size()), previous(ids.size());
  for (int i = 0; i < n; ++i) next[size_t(i)] = i + 1, previous[size_t(i)] = i - 1;

  std::priority_queue<Candidate> queue;
  const auto offer = [&](int left) {
    if (left < 0 || next[size_t(left)] >= n) return;
    const uint64_t pair = key(ids[size_t(left)], ids[size_t(next[size_t(left)])]);
    if (const auto merge = merges_.find(pair); merge != merges_.end())
      queue.push({merge->second.rank, left, pair, merge->second.id});
  };
  for (int i = 0; i + 1 < n; ++i) offer(i);
  while (!queue.empty()) {
    check_interrupt();
    const Candidate best = queue.top();
    queue.pop();
    const size_t left = size_t(best.left);
    if (ids[left] < 0 || next[left] >= n) continue;
    const size_t right = size_t(next[left]);
    if (key(ids[left], ids[right]) != best.pair) continue;
    ids[left] = best.merged;
    ids[right] = -1;
    next[left] = next[right];
    if (next[left] < n) previous[size_t(next[left])] = best.left;
    offer(previous[left]);
    offer(best.left);
  }
  std::erase(ids, -1);
}

void Bpe::encode(std::string_view word, std::vector<int>& ids) const {
  if (options_.ignore_merges)
    if (const int id = vocabulary_.find(word); id >= 0) return ids.push_back(id);
  std::vector<int> tokens = characters(word);
  merge_all(tokens);
  ids.insert(ids.end(), tokens.begin(), tokens.end());
}

}  // namespace emberq
