#pragma once

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
    int unk_id = -1;             // -1: unknown characters are left out
  };

  Bpe() = default;
  Bpe(Vocabulary vocabulary, Options options)
      : vocabulary_(std::move(vocabulary)), options_(options) {}

  // The merge of next rank. InputError where a part or the whole is no token.
  void add_merge(std::string_view left, std::string_view right, const std::string& where);
  // A merge by ids, of a given rank.
  void add_merge(int left, int right, int merged, int rank);

  Vocabulary& vocabulary() { return vocabulary_; }
  const Vocabulary& vocabulary() const { return vocabulary_; }

  void encode(std::string_view word, std::vector<int>& ids) const;  // appends

 private:
  struct Merge {
    int rank, id;
  };

  static uint64_t key(int left, int right) {
    return uint64_t(uint32_t(left)) << 32 | uint32_t(right);
  }
  std::vector<int> characters(std::string_view word) const;
  void merge_all(std::vector<int>& ids) const;

  Vocabulary vocabulary_;
  Options options_;
  std::unordered_map<uint64_t, Merge> merges_;
};

}  // namespace emberq
