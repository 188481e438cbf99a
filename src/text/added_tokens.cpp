#include "text/added_tokens.h"

#include <algorithm>

#include "base/interrupt.h"
#include "base/regex.h"
#include "text/pattern.h"
#include "text/unicode.h"

namespace emberq {
namespace {

// Patterns at one end of a text; white space and word characters as Unicode has them.
bool word_at_start(std::string_view text) {
  static const Regex regex("\\w");
  return regex.matches_start(text);
}
bool word_at_end(std::string_view text) {
  size_t last = text.size();
  while (last > 0 && (text[--last] & 0xc0) == 0x80) {
  }
  return word_at_start(text.substr(last));
}
size_t space_at_start(std::string_view text) {
  static const Regex regex("\\A" + to_pcre2("\\s*"));
  return regex.find(text)->end;
}
size_t space_at_end(std::string_view text) {  // where it begins
  static const Regex regex(to_pcre2("\\s"));
  size_t begin = text.size();
  while (begin > 0) {
    size_t last = begin;
    while (last > 0 && (text[--last] & 0xc0) == 0x80) {
    }
    if (!regex.matches_start(text.substr(last, begin - last))) break;
    begin = last;
  }
  return begin;
}

}  // namespace

void AddedTokens::finish(const Normalizer& normalizer) {
  in_given_ = in_normalized_ = {};
  for (size_t i = 0; i < tokens_.size(); ++i) {
    const AddedToken& token = tokens_[i];
    if (token.special) special_.insert(token.id);
    if (token.content.empty()) continue;
    if (token.normalized)
      in_normalized_.contents.emplace_back(normalizer.apply(token.content), i);
    else
      in_given_.contents.emplace_back(token.content, i);
  }
  for (Search* search : {&in_given_, &in_normalized_}) {
    std::stable_sort(search->contents.begin(), search->contents.end(),
                     [](const auto& a, const auto& b) { return a.first.size() > b.first.size(); });
    for (const auto& [content, index] : search->contents)
      search->starts[static_cast<unsigned char>(content[0])] = true;
  }
}

const std::pair<std::string, size_t>* AddedTokens::Search::match(std::string_view text,
                                                                 size_t at) const {
  if (!starts[static_cast<unsigned char>(text[at])]) return nullptr;
  for (const auto& candidate : contents)
    if (text.substr(at).starts_with(candidate.first)) return &candidate;
  return nullptr;
}

std::vector<AddedTokens::Found> AddedTokens::find(const Search& search,
                                                  std::string_view text) const {
  std::vector<Found> found;
  size_t done = 0;  // up to where the text belongs to a token
  for (size_t at = 0; at < text.size();) {
    check_interrupt();
    const auto* match = search.match(text, at);
    if (!match) {
      ++at;
      continue;
    }
    const AddedToken& token = tokens_[match->second];
    size_t begin = at, end = at + match->first.size();
    at = end;
    if (token.single_word &&
        (word_at_end(text.substr(0, begin)) || word_at_start(text.substr(end))))
      continue;
    if (token.lstrip) begin = std::max(done, space_at_end(text.substr(0, begin)));
    if (token.rstrip) end += space_at_start(text.substr(end));
    found.push_back({begin, end, token.id});
    done = end;
    at = std::max(at, end);
  }
  return found;
}

std::vector<AddedTokens::Part> AddedTokens::split(std::string_view text,
                                                  const Normalizer& normalizer) const {
  std::vector<Part> parts;
  const auto cut = [this](const Search& search, std::string_view whole, const auto& between,
                          std::vector<Part>& out, bool at_start) {
    size_t done = 0;
    for (const Found& token : find(search, whole)) {
      if (token.begin > done)
        between(whole.substr(done, token.begin - done), at_start && done == 0);
      out.push_back({std::string(whole.substr(token.begin, token.end - token.begin)), token.id,
                     at_start && token.begin == 0});
      done = token.end;
    }
    if (done < whole.size()) between(whole.substr(done), at_start && done == 0);
  };
  cut(
      in_given_, text,
      [&](std::string_view given, bool given_at_start) {
        const std::string normal = normalizer.apply(given);
        cut(
            in_normalized_, normal,
            [&](std::string_view plain, bool at_start) {
              parts.push_back({std::string(plain), std::nullopt, at_start});
            },
            parts, given_at_start);
      },
      parts, true);
  return parts;
}

}  // namespace emberq
