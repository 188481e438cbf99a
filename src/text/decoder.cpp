#include "text/decoder.h"

#include <charconv>
#include <optional>
#include <utility>

#include "base/json.h"
#include "text/byte_level.h"
#include "text/unicode.h"

namespace emberq {
namespace {

std::string replaced(std::string_view text, const Decoder::Replace& step) {
  std::string result;
  size_t at = 0;
  for (const Span match : step.pattern.matches(text)) {
    result.append(text, at, match.begin - at).append(step.content);
    at = match.end;
  }
  return result.append(text, at);
}

std::string stripped(std::string_view text, const Decoder::Strip& step) {
  for (int i = 0; i < step.start && text.starts_with(step.character); ++i)
    text.remove_prefix(step.character.size());
  for (int i = 0; i < step.stop && text.ends_with(step.character); ++i)
    text.remove_suffix(step.character.size());
  return std::string(text);
}

std::string without_metaspace(std::string_view text, const Decoder::Metaspace& step, bool first) {
  return replaced(text, {Pattern::literal(step.replacement), first && step.prepended ? "" : " "});
}

// The byte of a token like <0x0A>.
std::optional<char> byte_of(std::string_view token) {
  if (token.size() != 6 || !token.starts_with("<0x") || !token.ends_with('>')) return std::nullopt;
  unsigned value = 0;
  const auto [end, error] = std::from_chars(token.data() + 3, token.data() + 5, value, 16);
  if (error != std::errc() || end != token.data() + 5) return std::nullopt;
  return char(value);
}

Decoder::Step parse_strip(const JsonObject& json) {
  Decoder::Strip step{.character = json.get<std::string>("content"),
                      .start = json.get_or("start", 0),
                      .stop = json.get_or("stop", 0)};
  if (step.character.empty() || utf8_length_of(step.character[0]) != step.character.size())
    json.reject("content", "must be one character");
  if (step.start < 0) json.reject("start", "must not be negative");
  if (step.stop < 0) json.reject("stop", "must not be negative");
  return step;
}

Decoder::Step parse_metaspace_step(const JsonObject& json) {
  Decoder::Metaspace step{.replacement = json.get<std::string>("replacement")};
  if (step.replacement.empty()) json.reject("replacement", "must not be empty");
  step.prepended = json.has("prepend_scheme") ? json.get<std::string>("prepend_scheme") != "never"
                                              : json.get_or("add_prefix_space", true);
  return step;
}

void parse_into(const JsonObject& json, std::vector<Decoder::Step>& steps) {
  const auto type = json.get<std::string>("type");
  if (type == "Sequence")
    for (const Json& part : json.array("decoders"))
      parse_into(JsonObject(part, json.where()), steps);
  else if (type == "ByteLevel")
    steps.push_back(Decoder::ByteLevel{});
  else if (type == "Metaspace")
    steps.push_back(parse_metaspace_step(json));
  else if (type == "Replace")
    steps.push_back(Decoder::Replace{Pattern::parse(json), json.get<std::string>("content")});
  else if (type == "Strip")
    steps.push_back(parse_strip(json));
  else if (type == "ByteFallback")
    steps.push_back(Decoder::ByteFallback{});
  else if (type == "Fuse")
    steps.push_back(Decoder::Fuse{});
  else
    json.reject("type",
                "of a decoder must be ByteLevel, Metaspace, Replace, Strip, ByteFallback, Fuse or "
                "Sequence");
}

}  // namespace

Decoder Decoder::parse(const JsonObject& json) {
  std::vector<Step> steps;
  parse_into(json, steps);
  return Decoder(std::move(steps));
}

DecoderStream::DecoderStream(const Decoder& decoder)
    : decoder_(&decoder), states_(decoder.steps().size()) {
  // After Fuse and ByteLevel there is one text, whose pieces the steps hand on as they come. Strip
  // can work so; any other step waits for the whole text, which is a text like any other.
  bool pieces = false;
  for (size_t i = 0; i < states_.size(); ++i) {
    const Decoder::Step& step = decoder.steps()[i];
    states_[i].pieces = pieces;
    if (std::holds_alternative<Decoder::Fuse>(step) ||
        std::holds_alternative<Decoder::ByteLevel>(step))
      pieces = true;
    else if (!std::holds_alternative<Decoder::Strip>(step))
      pieces = false;
  }
}

std::string DecoderStream::add(std::string_view token) {
  feed(0, std::string(token));
  return std::exchange(out_, {});
}

std::string DecoderStream::finish() {
  for (size_t i = 0; i < states_.size(); ++i) end(i);
  return std::exchange(out_, {});
}

void DecoderStream::feed(size_t i, std::string text) {
  if (i == states_.size()) {
    out_ += text;
    return;
  }
  State& state = states_[i];
  const Decoder::Step& step = decoder_->steps()[i];
  if (state.pieces && !std::holds_alternative<Decoder::Fuse>(step)) {
    feed_piece(i, std::move(text));
    return;
  }
  const bool first = std::exchange(state.first, false);
  if (const auto* replace = std::get_if<Decoder::Replace>(&step)) {
    feed(i + 1, replaced(text, *replace));
  } else if (const auto* strip = std::get_if<Decoder::Strip>(&step)) {
    feed(i + 1, stripped(text, *strip));
  } else if (const auto* metaspace = std::get_if<Decoder::Metaspace>(&step)) {
    feed(i + 1, without_metaspace(text, *metaspace, first));
  } else if (std::holds_alternative<Decoder::Spaced>(step)) {
    feed(i + 1, (first ? "" : " ") + text);
  } else if (std::holds_alternative<Decoder::ByteFallback>(step)) {
    feed_fallback(i, std::move(text));
  } else if (std::holds_alternative<Decoder::ByteLevel>(step)) {
    state.held += byte_level_decode(text).value_or(text);
    const size_t kept = unfinished_utf8(state.held);
    std::string whole =
        lossy_utf8(std::string_view(state.held).substr(0, state.held.size() - kept));
    state.held.erase(0, state.held.size() - kept);
    feed(i + 1, std::move(whole));
  } else {
    feed(i + 1, std::move(text));
  }
}

void DecoderStream::feed_fallback(size_t i, std::string text) {
  if (const auto byte = byte_of(text)) {
    states_[i].held += *byte;
    return;
  }
  const std::string bytes = std::exchange(states_[i].held, {});
  if (!bytes.empty() && find_invalid_utf8(bytes) == bytes.npos)
    feed(i + 1, bytes);
  else
    for (size_t b = 0; b < bytes.size(); ++b) feed(i + 1, std::string(kReplacementCharacter));
  feed(i + 1, std::move(text));
}

void DecoderStream::feed_piece(size_t i, std::string text) {
  State& state = states_[i];
  state.held += text;
  const auto* strip = std::get_if<Decoder::Strip>(&decoder_->steps()[i]);
  if (!strip) return;  // waits for the whole
  const std::string& character = strip->character;
  while (!state.started && !state.held.empty()) {
    state.started = state.stripped == strip->start || !state.held.starts_with(character);
    if (state.started) break;
    state.held.erase(0, character.size());
    ++state.stripped;
  }
  size_t end = state.held.size();  // what may be stripped from the end stays
  for (int n = 0;
       n < strip->stop && std::string_view(state.held).substr(0, end).ends_with(character); ++n)
    end -= character.size();
  feed(i + 1, state.held.substr(0, end));
  state.held.erase(0, end);
}

void DecoderStream::end(size_t i) {
  State& state = states_[i];
  const Decoder::Step& step = decoder_->steps()[i];
  if (std::holds_alternative<Decoder::Strip>(step)) return;  // what it holds is stripped
  if (state.pieces && !std::holds_alternative<Decoder::Fuse>(step)) {
    state.pieces = false;
    feed(i, std::exchange(state.held, {}));
  }
  if (std::holds_alternative<Decoder::ByteFallback>(step) && !state.held.empty())
    feed_fallback(i, "");
  else if (std::holds_alternative<Decoder::ByteLevel>(step))
    feed(i + 1, lossy_utf8(std::exchange(state.held, {})));
}

}  // namespace emberq
