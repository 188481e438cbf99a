#pragma once

#include <array>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "text/normalizer.h"

namespace emberq {

struct AddedToken {
  int id = 0;
  std::string content;
  bool special = false;      // left out of decoded text on demand
  bool normalized = false;   // looked for in the normalized text, not in the text as given
  bool single_word = false;  // only where no word character touches it
  bool lstrip = false;       // takes white space before it
  bool rstrip = false;       // takes white space behind it
};

// Tokens that are found in a text before the model sees it; of several at one place the longest.
class AddedTokens {
 public:
  // A stretch of text with the token it is, or none.
  struct Part {
    std::string text;
    std::optional<int> id;
    bool at_start;  // of what the user gave
  };

  void add(AddedToken token) { tokens_.push_back(std::move(token)); }
  // After the last add(): makes ready to search in text that `normalizer` has seen.
  void finish(const Normalizer& normalizer);

  bool is_special(int id) const { return special_.contains(id); }
  const std::vector<AddedToken>& tokens() const { return tokens_; }

  // The text cut at its added tokens; stretches between them are normalized.
  std::vector<Part> split(std::string_view text, const Normalizer& normalizer) const;

 private:
  struct Found {
    size_t begin, end;
    int id;
  };
  // Contents to look for, by first byte.
  struct Search {
    std::vector<std::pair<std::string, size_t>> contents;  // of tokens_[i], longest first
    std::array<bool, 256> starts{};
    const std::pair<std::string, size_t>* match(std::string_view text, size_t at) const;
  };

  std::vector<Found> find(const Search& search, std::string_view text) const;

  std::vector<AddedToken> tokens_;
  std::set<int> special_;
  Search in_given_, in_normalized_;
};

}  // namespace emberq
