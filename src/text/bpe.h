#pragma once

#include <climits>
#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace emberq {

// Token texts and their ids.
class Vocabulary {
 public:
  // InputError where the id or the text is there already with another partner, or the id is
  // negative or beyond any real vocabulary; `where` names the file.
  void add(const std::string& token, int64_t id, const std::string& where);

  int find(std::string_view token) const;  // -1 where absent
  const std::string& text(int id) const { return texts_[size_t(id)]; }
  bool has(int id) const { return id >= 0 && size_t(id) < texts_.size() && present_[size_t(id)]; }
  int size() const { return int(texts_.size()); }  // the largest id and one
  int count() const {
    return int(ids_.size());
  }  // of tokens: less than size() where ids are left out

 private:
  struct Hash {
    using is_transparent = void;
    size_t operator()(std::string_view text) const { return std::hash<std::string_view>{}(text); }
  };

  std::unordered_map<std::string, int, Hash, std::equal_to<>> ids_;
  std::vector<std::string> texts_;
  std::vector<bool> present_;
};

// Byte pair encoding: a word's characters, joined pair by pair, the pair of least rank first and of
// equal ones the leftmost.
class Bpe {
 public:
  struct Options {
    bool byte_fallback = false;  // a character that is no token becomes its bytes' tokens, <0x0A>
    bool ignore_merges = false;  // a word that is a token is that token
    bool fuse_unk = false;       // unknown characters in a row are one unknown token
    std::string unk_token;       // of unknown characters; empty: they are left out
  };

  Bpe() = default;
  Bpe(Vocabulary vocabulary, Options options);

  // The merge of next rank; of a pair that comes twice the last rank counts. InputError where a
  // part or the whole is no token.
  void add_merge(std::string_view left, std::string_view right, const std::string& where);
  // The merge "LEFT RIGHT", as merges.txt and older tokenizer.json write it; "#version ..." is
  // none.
  void add_merge_line(std::string_view line, const std::string& where);
  // A merge by ids, of a given rank.
  void add_merge(int left, int right, int merged, int rank);

  const Vocabulary& vocabulary() const { return vocabulary_; }

  // Appends the word's ids. InputError for an unknown character where unk_token is no token of the
  // vocabulary.
  void encode(std::string_view word, std::vector<int>& ids) const;

 private:
  struct Merge {
    int rank, id;  // what the pair becomes; -1: the pair is not merged
  };

  static constexpr Merge kNoMerge{INT_MAX, -1};

  // Merges by pair, in one array with empty places: a look-up is one cache miss.
  class Merges {
   public:
    void set(uint64_t pair, Merge merge);
    Merge find(uint64_t pair) const {
      if (entries_.empty()) return kNoMerge;
      return entries_[place(pair)].merge;
    }

   private:
    struct Entry {
      uint64_t pair = 0;
      Merge merge = kNoMerge;
    };
    size_t place(uint64_t pair) const {
      constexpr uint64_t kGolden = 0x9E3779B97F4A7C15;  // 2^64 / golden ratio: Knuth 6.4
      size_t at = size_t((pair * kGolden) >> shift_);
      while (entries_[at].merge.id >= 0 && entries_[at].pair != pair)
        at = (at + 1) & (entries_.size() - 1);
      return at;
    }

    std::vector<Entry> entries_;  // a power of two of them, at most half of them taken
    size_t taken_ = 0;
    int shift_ = 64;
  };

  static uint64_t key(int left, int right) {
    return uint64_t(uint32_t(left)) << 32 | uint32_t(right);
  }
  std::vector<int> characters(std::string_view word) const;
  bool append_bytes(std::string_view character, std::vector<int>& ids) const;
  void merge_all(std::vector<int>& ids) const;
  void merge_short(std::vector<int>& ids) const;  // the same, in quadratic time without a queue

  Vocabulary vocabulary_;
  Options options_;
  int unk_id_ = -1;  // of options_.unk_token; -1 where that is no token
  Merges merges_;
  int next_rank_ = 0;
};

}  // namespace emberq
