#include "text/pre_tokenizer.h"

#include <map>
#include <utility>

#include "base/interrupt.h"
#include "text/byte_level.h"

namespace emberq {
namespace {

using Behavior = PreTokenizer::Behavior;

// A stretch of the text, and whether it is a delimiter.
struct Piece {
  Span span;
  bool delimiter;
};

std::vector<Piece> pieces_of(std::string_view text, const PreTokenizer::Split& split) {
  std::vector<Piece> pieces;
  size_t at = 0;
  const auto between = [&](size_t end) {
    if (end > at) pieces.push_back({{at, end}, split.invert});
    at = end;
  };
  for (const Span match : split.pattern.matches(text)) {
    between(match.begin);
    pieces.push_back({match, !split.invert});
    at = match.end;
  }
  between(text.size());
  return pieces;
}

void split_into(std::string_view text, const PreTokenizer::Split& split,
                std::vector<std::string>& words) {
  std::vector<Span> spans;
  bool joins = false;  // the next piece to the last span
  bool after_delimiter = false;
  for (const Piece& piece : pieces_of(text, split)) {
    const auto extend_or_add = [&](bool extend) {
      if (extend && !spans.empty())
        spans.back().end = piece.span.end;
      else
        spans.push_back(piece.span);
    };
    switch (split.behavior) {
      case Behavior::kIsolated:
        spans.push_back(piece.span);
        break;
      case Behavior::kRemoved:
        if (!piece.delimiter) spans.push_back(piece.span);
        break;
      case Behavior::kMergedWithPrevious:  // a delimiter joins a word before it
        extend_or_add(piece.delimiter && !after_delimiter);
        break;
      case Behavior::kMergedWithNext:
        extend_or_add(joins && !piece.delimiter);
        joins = piece.delimiter;
        break;
      case Behavior::kContiguous:
        extend_or_add(!spans.empty() && piece.delimiter == after_delimiter);
        break;
    }
    after_delimiter = piece.delimiter;
  }
  for (const Span span : spans) words.emplace_back(text.substr(span.begin, span.end - span.begin));
}

void metaspace_into(const std::string& word, const PreTokenizer::Metaspace& step, bool at_start,
                    std::vector<std::string>& words) {
  std::string text;
  for (const char c : word)
    if (c == ' ')
      text += step.replacement;
    else
      text += c;
  const bool prepend = step.prepend == PreTokenizer::PrependScheme::kAlways ||
                       (step.prepend == PreTokenizer::PrependScheme::kFirst && at_start);
  if (prepend && !text.starts_with(step.replacement)) text = step.replacement + text;
  if (step.split)
    split_into(text, {Pattern::literal(step.replacement), Behavior::kMergedWithNext}, words);
  else
    words.push_back(std::move(text));
}

PreTokenizer::Step parse_split(const JsonObject& json) {
  static const std::map<std::string, Behavior> behaviors = {
      {"Isolated", Behavior::kIsolated},
      {"Removed", Behavior::kRemoved},
      {"MergedWithPrevious", Behavior::kMergedWithPrevious},
      {"MergedWithNext", Behavior::kMergedWithNext},
      {"Contiguous", Behavior::kContiguous}};
  const auto found = behaviors.find(json.get<std::string>("behavior"));
  if (found == behaviors.end()) json.reject("behavior", "is not known");
  return PreTokenizer::Split{Pattern::parse(json), found->second, json.get_or("invert", false)};
}

PreTokenizer::Step parse_metaspace(const JsonObject& json) {
  using Scheme = PreTokenizer::PrependScheme;
  static const std::map<std::string, Scheme> schemes = {
      {"never", Scheme::kNever}, {"first", Scheme::kFirst}, {"always", Scheme::kAlways}};
  PreTokenizer::Metaspace step{.replacement = json.get<std::string>("replacement")};
  if (json.has("prepend_scheme")) {
    const auto found = schemes.find(json.get<std::string>("prepend_scheme"));
    if (found == schemes.end()) json.reject("prepend_scheme", "must be never, first or always");
    step.prepend = found->second;
  } else if (!json.get_or("add_prefix_space", true)) {
    step.prepend = Scheme::kNever;  // files from before prepend_scheme
  }
  step.split = json.get_or("split", true);
  return step;
}

}  // namespace

PreTokenizer PreTokenizer::parse(const JsonObject& json) {
  std::vector<Step> steps;
  parse_into(json, steps);
  return PreTokenizer(std::move(steps));
}

void PreTokenizer::parse_into(const JsonObject& json, std::vector<Step>& steps) {
  const auto type = json.get<std::string>("type");
  const auto split = [&](std::string_view regex, Behavior behavior, bool invert = false) {
    steps.push_back(Split{Pattern::regex(regex), behavior, invert});
  };
  if (type == "Sequence") {
    for (const Json& part : json.array("pretokenizers"))
      parse_into(JsonObject(part, json.where()), steps);
  } else if (type == "Split") {
    steps.push_back(parse_split(json));
  } else if (type == "ByteLevel") {
    if (json.get_or("add_prefix_space", true)) steps.push_back(PrefixSpace{});
    if (json.get_or("use_regex", true)) split(kGpt2Regex, Behavior::kIsolated);
    steps.push_back(ByteLevel{});
  } else if (type == "Metaspace") {
    steps.push_back(parse_metaspace(json));
  } else if (type == "Digits") {
    split(R"(\p{N})",
          json.get_or("individual_digits", false) ? Behavior::kIsolated : Behavior::kContiguous);
  } else if (type == "WhitespaceSplit") {
    split(R"(\s)", Behavior::kRemoved);
  } else {
    json.reject(
        "type",
        "of a pre-tokenizer must be Split, ByteLevel, Metaspace, Digits, WhitespaceSplit or "
        "Sequence");
  }
}

std::vector<std::string> PreTokenizer::apply(std::string text, bool at_start) const {
  std::vector<std::string> words = {std::move(text)};
  for (const Step& step : steps_) {
    std::vector<std::string> next;
    for (size_t i = 0; i < words.size(); ++i) {
      check_interrupt();
      std::string& word = words[i];
      if (const auto* split = std::get_if<Split>(&step))
        split_into(word, *split, next);
      else if (std::holds_alternative<PrefixSpace>(step))
        next.push_back(word.starts_with(' ') ? std::move(word) : " " + word);
      else if (std::holds_alternative<ByteLevel>(step))
        next.push_back(byte_level_encode(word));
      else
        metaspace_into(word, std::get<Metaspace>(step), at_start && i == 0, next);
    }
    words = std::move(next);
  }
  return words;
}

}  // namespace emberq
