#include "text/bpe.h"

#include <algorithm>
#include <bit>
#include <queue>
#include <utility>

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

void Bpe::Merges::set(uint64_t pair, Merge merge) {
  if (2 * (taken_ + 1) > entries_.size()) {
    std::vector<Entry> old =
        std::exchange(entries_, std::vector<Entry>(std::max<size_t>(16, 2 * entries_.size())));
    shift_ = 64 - std::countr_zero(entries_.size());
    for (const Entry& entry : old)
      if (entry.merge.id >= 0) entries_[place(entry.pair)] = entry;
  }
  Entry& entry = entries_[place(pair)];
  if (entry.merge.id < 0) ++taken_;
  entry = {pair, merge};
}

Bpe::Bpe(Vocabulary vocabulary, Options options)
    : vocabulary_(std::move(vocabulary)),
      options_(std::move(options)),
      unk_id_(vocabulary_.find(options_.unk_token)) {}

void Bpe::add_merge(std::string_view left, std::string_view right, const std::string& where) {
  const std::string whole = std::string(left) + std::string(right);
  const int l = vocabulary_.find(left), r = vocabulary_.find(right),
            merged = vocabulary_.find(whole);
  EMBERQ_REQUIRE(l >= 0 && r >= 0 && merged >= 0,
                 "{}: the merge of '{}' and '{}' needs the token '{}'", where, left, right,
                 l < 0   ? left
                 : r < 0 ? right
                         : std::string_view(whole));
  add_merge(l, r, merged, next_rank_++);
}

void Bpe::add_merge_line(std::string_view line, const std::string& where) {
  if (line.starts_with("#version")) return;
  const size_t space = line.find(' ');
  EMBERQ_REQUIRE(space != line.npos && line.find(' ', space + 1) == line.npos,
                 "{}: a merge must be two tokens with a space between, got '{}'", where, line);
  add_merge(line.substr(0, space), line.substr(space + 1), where);
}

void Bpe::add_merge(int left, int right, int merged, int rank) {
  merges_.set(key(left, right), {rank, merged});
}

// The tokens of the character's bytes, where all of them are tokens.
bool Bpe::append_bytes(std::string_view character, std::vector<int>& ids) const {
  const size_t before = ids.size();
  for (const char byte : character) {
    const int id = vocabulary_.find(fmt::format("<0x{:02X}>", static_cast<unsigned char>(byte)));
    if (id < 0) {
      ids.resize(before);
      return false;
    }
    ids.push_back(id);
  }
  return true;
}

std::vector<int> Bpe::characters(std::string_view word) const {
  std::vector<int> ids;
  // The tokenizers package holds an unknown character back until a token or another unknown
  // character follows, and so puts it behind bytes that follow it.
  bool unknown = false;
  const auto put_unknown = [&] {
    if (unknown) ids.push_back(unk_id_);
    unknown = false;
  };
  for (size_t at = 0; at < word.size();) {
    const std::string_view character = word.substr(at, utf8_length_of(word[at]));
    at += character.size();
    if (const int id = vocabulary_.find(character); id >= 0) {
      put_unknown();
      ids.push_back(id);
      continue;
    }
    if (options_.byte_fallback && append_bytes(character, ids)) continue;
    if (options_.unk_token.empty()) continue;
    EMBERQ_REQUIRE(unk_id_ >= 0,
                   "no token stands for the character '{}' of the text, and unk_token '{}' is not "
                   "in the vocabulary",
                   character, options_.unk_token);
    if (!options_.fuse_unk) put_unknown();
    unknown = true;
  }
  put_unknown();
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
    if (const Merge merge = merges_.find(pair); merge.id >= 0)
      queue.push({merge.rank, left, pair, merge.id});
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

void Bpe::merge_short(std::vector<int>& ids) const {
  const auto merge_at = [&](size_t i) {
    return i + 1 < ids.size() ? merges_.find(key(ids[i], ids[i + 1])) : kNoMerge;
  };
  std::vector<Merge> merges(ids.size());  // of each token with the next
  for (size_t i = 0; i < ids.size(); ++i) merges[i] = merge_at(i);
  while (!ids.empty()) {
    const auto best = std::min_element(merges.begin(), merges.end(),
                                       [](Merge a, Merge b) { return a.rank < b.rank; });
    if (best->id < 0) return;
    const auto i = best - merges.begin();
    ids[size_t(i)] = best->id;
    ids.erase(ids.begin() + i + 1);
    merges.erase(best + 1);
    merges[size_t(i)] = merge_at(size_t(i));
    if (i > 0) merges[size_t(i - 1)] = merge_at(size_t(i - 1));
  }
}

void Bpe::encode(std::string_view word, std::vector<int>& ids) const {
  if (options_.ignore_merges)
    if (const int id = vocabulary_.find(word); id >= 0) return ids.push_back(id);
  std::vector<int> tokens = characters(word);
  constexpr size_t kShort = 32;
  if (tokens.size() <= kShort)
    merge_short(tokens);
  else
    merge_all(tokens);
  ids.insert(ids.end(), tokens.begin(), tokens.end());
}

}  // namespace emberq
