#include "text/pre_tokenizer.h"

#include "base/interrupt.h"
#include "text/byte_level.h"
#include "text/unicode.h"

namespace emberq {
namespace {

using Behavior = PreTokenizer::Behavior;
using Word = Words::Word;

// A stretch of the text, which may be empty, and whether it is a delimiter.
struct Piece {
  Span span;
  bool delimiter;
};

std::vector<Piece> pieces_of(std::string_view text, const PreTokenizer::Split& split) {
  std::vector<Piece> pieces;
  size_t at = 0;
  const auto between = [&](size_t end) {
    if (end > at) pieces.push_back({{at, end}, split.invert});
  };
  for (const Span match : split.pattern.matches(text)) {
    between(match.begin);
    pieces.push_back({match, !split.invert});
    at = match.end;
  }
  between(text.size());
  return pieces;
}

// The spans that the pieces make, in order; some may be empty.
std::vector<Span> behave(const std::vector<Piece>& pieces, Behavior behavior) {
  std::vector<Span> spans;
  bool after_delimiter = false;
  for (const Piece& piece : pieces) {
    bool joins = false;  // the span before
    switch (behavior) {
      case Behavior::kIsolated:
        break;
      case Behavior::kRemoved:
        if (piece.delimiter) continue;
        break;
      case Behavior::kMergedWithPrevious:
        joins = piece.delimiter && !after_delimiter;
        break;
      case Behavior::kMergedWithNext:
        joins = !piece.delimiter && after_delimiter;
        break;
      case Behavior::kContiguous:
        joins = piece.delimiter == after_delimiter;
        break;
    }
    if (joins && !spans.empty())
      spans.back().end = piece.span.end;
    else
      spans.push_back(piece.span);
    after_delimiter = piece.delimiter;
  }
  return spans;
}

// The words, each cut in the spans that `cut` finds in it.
template <class Cut>
Words cut_words(Words from, const Cut& cut) {
  std::vector<Word> words;
  for (size_t i = 0; i < from.words.size(); ++i) {
    const Word word = from.words[i];
    for (const Span span : cut(from[i]))
      if (span.end > span.begin)
        words.push_back(
            {word.begin + span.begin, word.begin + span.end, word.at_start && span.begin == 0});
  }
  from.words = std::move(words);
  return from;
}

// The words, each written anew: write(word, text) appends it to the text.
template <class Write>
Words rewrite(const Words& from, const Write& write) {
  Words to;
  to.text.reserve(from.text.size() + from.text.size() / 4);
  to.words.reserve(from.words.size());
  for (size_t i = 0; i < from.words.size(); ++i) {
    const size_t begin = to.text.size();
    write(i, to.text);
    if (to.text.size() > begin) to.words.push_back({begin, to.text.size(), from.words[i].at_start});
  }
  return to;
}

Words apply_step(const PreTokenizer::Split& step, Words words) {
  return cut_words(std::move(words), [&](std::string_view word) {
    return behave(pieces_of(word, step), step.behavior);
  });
}

Words apply_step(const PreTokenizer::FixedLength& step, Words words) {
  return cut_words(std::move(words), [&](std::string_view word) {
    std::vector<Span> spans;
    size_t characters = 0;
    for (size_t at = 0; at < word.size(); ++characters) {
      if (characters % step.length == 0) spans.push_back({at, at});
      at += utf8_length_of(word[at]);
      spans.back().end = at;
    }
    return spans;
  });
}

Words apply_step(const PreTokenizer::PrefixSpace&, const Words& words) {
  return rewrite(words, [&](size_t i, std::string& text) {
    if (!words[i].starts_with(' ')) text += ' ';
    text += words[i];
  });
}

Words apply_step(const PreTokenizer::ByteLevel&, const Words& words) {
  return rewrite(words, [&](size_t i, std::string& text) { byte_level_append(words[i], text); });
}

Words apply_step(const PreTokenizer::Metaspace& step, const Words& words) {
  Words spelled = rewrite(words, [&](size_t i, std::string& text) {
    using Scheme = PreTokenizer::PrependScheme;
    const std::string_view word = words[i];
    const bool prepend = step.prepend == Scheme::kAlways ||
                         (step.prepend == Scheme::kFirst && words.words[i].at_start);
    if (prepend && !word.starts_with(' ') && !word.starts_with(step.replacement))
      text += step.replacement;
    for (const char c : word)
      if (c == ' ')
        text += step.replacement;
      else
        text += c;
  });
  if (!step.split) return spelled;
  return apply_step(
      PreTokenizer::Split{Pattern::literal(step.replacement), Behavior::kMergedWithNext},
      std::move(spelled));
}

}  // namespace

Words PreTokenizer::apply(std::string text, bool at_start) const {
  Words words;
  if (!text.empty()) words.words.push_back({0, text.size(), at_start});
  words.text = std::move(text);
  for (const Step& step : steps_) {
    check_interrupt();
    words = std::visit([&](const auto& s) { return apply_step(s, std::move(words)); }, step);
  }
  return words;
}

}  // namespace emberq
