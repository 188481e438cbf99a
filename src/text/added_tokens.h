#pragma once

#include <array>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/json_fwd.h"
#include "text/bpe.h"
#include "text/normalizer.h"

namespace emberq {

struct AddedToken {
  std::optional<int> id;  // as a file gives it
  std::string content;
  bool special = false;      // left out of decoded text on demand
  bool normalized = false;   // looked for in the normalized text, not in the text as given
  bool single_word = false;  // only where no word character touches it
  bool lstrip = false;       // takes white space before it
  bool rstrip = false;       // takes white space behind it

  // The keys of these names but `id`; `normalized` is by default what `special` is not.
  static AddedToken parse(const JsonObject& json, bool special_by_default);
  static AddedToken special_token(std::string content);
};

// Tokens beside the model's vocabulary that are found in a text before the model sees it; of
// several at one place the longest.
class AddedTokens {
 public:
  // A stretch of text with the token it is, or none.
  struct Part {
    std::string text;
    std::optional<int> id;
    bool at_start;  // of what the user gave
  };

  // Adds as the tokenizers package does: a token that is there already gets its new properties, one
  // of the vocabulary keeps its id, another gets the next id. InputError where the token's own id
  // says otherwise; `where` names the file.
  void add(const std::vector<AddedToken>& tokens, const Vocabulary& vocabulary,
           const std::string& where);
  // After the last add(): makes ready to search in text that `normalizer` has seen. InputError
  // where it leaves nothing of a token.
  void finish(const Normalizer& normalizer);

  bool is_special(int id) const { return special_.contains(id); }
  std::optional<int> find(std::string_view content) const;
  // What a decoder gets for the token, as normalized; nullptr where the id is no added token's.
  const std::string* text(int id) const;
  int size() const { return tokens_.empty() ? 0 : tokens_.rbegin()->first + 1; }
  const std::map<int, AddedToken>& tokens() const { return tokens_; }

  // The text cut at its added tokens; stretches between them are normalized. A token that takes
  // white space may overlap the next.
  std::vector<Part> split(std::string_view text, const Normalizer& normalizer) const;

 private:
  struct Found {
    size_t begin, end;
    int id;
  };
  // Contents to look for, by first byte.
  struct Search {
    std::vector<std::pair<std::string, int>> contents;  // and ids, the longest first
    std::array<bool, 256> starts{};
    const std::pair<std::string, int>* match(std::string_view text, size_t at) const;
  };

  std::vector<Found> find_all(const Search& search, std::string_view text) const;

  std::map<int, AddedToken> tokens_;
  std::map<std::string, int, std::less<>> ids_;
  std::unordered_map<int, std::string> texts_;
  std::set<int> special_;
  Search in_given_, in_normalized_;
};

}  // namespace emberq
