#include "text/added_tokens.h"

#include <algorithm>

#include "base/check.h"
#include "base/interrupt.h"
#include "base/json.h"
#include "text/boundary.h"

namespace emberq {

AddedToken AddedToken::parse(const JsonObject& json, bool special_by_default) {
  const bool special = json.get_or("special", special_by_default);
  return {.content = json.get<std::string>("content"),
          .special = special,
          .normalized = json.get_or("normalized", !special),
          .single_word = json.get_or("single_word", false),
          .lstrip = json.get_or("lstrip", false),
          .rstrip = json.get_or("rstrip", false)};
}

AddedToken AddedToken::special_token(std::string content) {
  return {.content = std::move(content), .special = true};
}

void AddedTokens::add(const std::vector<AddedToken>& tokens, const Vocabulary& vocabulary,
                      const std::string& where) {
  int next = std::max(vocabulary.count(), size());
  for (const AddedToken& token : tokens) {
    if (token.content.empty()) continue;
    std::optional<int> id = find(token.content);
    if (const int known = vocabulary.find(token.content); !id && known >= 0) id = known;
    if (!id) {
      id = next++;
      EMBERQ_REQUIRE(!vocabulary.has(*id), "{}: the id {} has two tokens, '{}' and '{}'", where,
                     *id, vocabulary.text(*id), token.content);
    }
    EMBERQ_REQUIRE(token.id.value_or(*id) == *id,
                   "{}: the added token '{}' has the id {}, but its place gives it the id {}",
                   where, token.content, *token.id, *id);
    ids_.emplace(token.content, *id);
    tokens_[*id] = token;
    if (token.special) special_.insert(*id);
  }
}

void AddedTokens::finish(const Normalizer& normalizer) {
  in_given_ = in_normalized_ = {};
  for (const auto& [id, token] : tokens_) {
    std::string content = token.content;
    if (token.normalized) content = normalizer.apply(content).text;
    EMBERQ_REQUIRE(!content.empty(), "the normalizer leaves nothing of the added token '{}'",
                   token.content);
    texts_[id] = content;
    (token.normalized ? in_normalized_ : in_given_).contents.emplace_back(std::move(content), id);
  }
  for (Search* search : {&in_given_, &in_normalized_}) {
    std::stable_sort(search->contents.begin(), search->contents.end(),
                     [](const auto& a, const auto& b) { return a.first.size() > b.first.size(); });
    for (const auto& [content, id] : search->contents)
      search->starts[static_cast<unsigned char>(content[0])] = true;
  }
}

std::optional<int> AddedTokens::find(std::string_view content) const {
  const auto found = ids_.find(content);
  return found == ids_.end() ? std::nullopt : std::optional(found->second);
}

const std::string* AddedTokens::text(int id) const {
  const auto found = texts_.find(id);
  return found == texts_.end() ? nullptr : &found->second;
}

const std::pair<std::string, int>* AddedTokens::Search::match(std::string_view text,
                                                              size_t at) const {
  if (!starts[static_cast<unsigned char>(text[at])]) return nullptr;
  for (const auto& candidate : contents)
    if (text.substr(at).starts_with(candidate.first)) return &candidate;
  return nullptr;
}

std::vector<AddedTokens::Found> AddedTokens::find_all(const Search& search,
                                                      std::string_view text) const {
  std::vector<Found> found;
  for (size_t at = 0; at < text.size();) {
    check_interrupt();
    const auto* match = search.match(text, at);
    if (!match) {
      ++at;
      continue;
    }
    const AddedToken& token = tokens_.at(match->second);
    size_t begin = at, end = at + match->first.size();
    at = end;
    if (token.single_word &&
        (word_at_end(text.substr(0, begin)) || word_at_start(text.substr(end))))
      continue;
    const size_t done = found.empty() ? 0 : found.back().end;
    if (token.lstrip) begin = std::max(done, space_at_end(text.substr(0, begin)));
    if (token.rstrip) end += space_at_start(text.substr(end));
    found.push_back({begin, end, match->second});
  }
  return found;
}

std::vector<AddedTokens::Part> AddedTokens::split(std::string_view text,
                                                  const Normalizer& normalizer) const {
  std::vector<Part> parts;
  const auto cut = [&](const Search& search, std::string_view whole, bool at_start,
                       const auto& between) {
    size_t done = 0;
    for (const Found& token : find_all(search, whole)) {
      if (token.begin > done)
        between(whole.substr(done, token.begin - done), at_start && done == 0);
      parts.push_back({std::string(whole.substr(token.begin, token.end - token.begin)), token.id,
                       at_start && token.begin == 0});
      done = token.end;
    }
    if (done < whole.size()) between(whole.substr(done), at_start && done == 0);
  };
  cut(in_given_, text, true, [&](std::string_view given, bool at_start) {
    const Normalizer::Result normal = normalizer.apply(given);
    cut(in_normalized_, normal.text, at_start && normal.keeps_start,
        [&](std::string_view plain, bool plain_at_start) {
          parts.push_back({std::string(plain), std::nullopt, plain_at_start});
        });
  });
  return parts;
}

}  // namespace emberq
