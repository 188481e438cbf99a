#include "text/decoder.h"

#include <charconv>
#include <optional>
#include <utility>

#include "text/byte_level.h"
#include "text/unicode.h"

namespace emberq {
namespace {

void parse_piece_step(const JsonObject& json, Decoder& decoder) {
  const auto type = json.get<std::string>("type");
  if (type == "Replace") {
    const JsonObject pattern = json.object("pattern");
    const auto from = pattern.get<std::string>("String");
    if (from.empty()) pattern.reject("String", "must not be empty");
    decoder.replacements.emplace_back(from, json.get<std::string>("content"));
  } else if (type == "ByteFallback") {
    decoder.byte_fallback = true;
  } else if (type == "Strip") {
    if (json.get<std::string>("content") != " " || json.get_or("stop", 0) != 0)
      json.reject("content", "of a Strip must be a space, at the start alone");
    decoder.strip_start = json.get_or("start", 0);
  } else if (type != "Fuse") {
    json.reject("type", "in a decoder's Sequence must be Replace, ByteFallback, Fuse or Strip");
  }
}

std::string replaced(std::string text, const std::string& from, const std::string& to) {
  for (size_t at = 0; (at = text.find(from, at)) != text.npos; at += to.size())
    text.replace(at, from.size(), to);
  return text;
}

// The byte of a token like <0x0A>.
std::optional<char> byte_of(std::string_view token) {
  if (token.size() != 6 || !token.starts_with("<0x") || !token.ends_with('>')) return std::nullopt;
  unsigned value = 0;
  const auto [end, error] = std::from_chars(token.data() + 3, token.data() + 5, value, 16);
  if (error != std::errc() || end != token.data() + 5) return std::nullopt;
  return char(value);
}

}  // namespace

Decoder Decoder::parse(const JsonObject& json) {
  Decoder decoder;
  const auto type = json.get<std::string>("type");
  if (type == "ByteLevel") {
    decoder.form = Form::kByteLevel;
  } else if (type == "Metaspace") {
    decoder.form = Form::kMetaspace;
    decoder.metaspace = json.get<std::string>("replacement");
    if (decoder.metaspace.empty()) json.reject("replacement", "must not be empty");
    decoder.metaspace_prepended = json.has("prepend_scheme")
                                      ? json.get<std::string>("prepend_scheme") != "never"
                                      : json.get_or("add_prefix_space", true);
  } else if (type == "Sequence") {
    decoder.form = Form::kPieces;
    for (const Json& part : json.array("decoders"))
      parse_piece_step(JsonObject(part, json.where()), decoder);
  } else {
    json.reject("type", "of a decoder must be ByteLevel, Metaspace or Sequence");
  }
  return decoder;
}

std::string DecoderStream::add(std::string_view token) {
  const bool first = std::exchange(first_, false);
  switch (decoder_->form) {
    case Decoder::Form::kByteLevel: {
      bytes_ += byte_level_decode(token).value_or(std::string(token));
      const size_t kept = unfinished_utf8(bytes_);
      std::string text = lossy_utf8(std::string_view(bytes_).substr(0, bytes_.size() - kept));
      bytes_.erase(0, bytes_.size() - kept);
      return text;
    }
    case Decoder::Form::kMetaspace:
      return replaced(std::string(token), decoder_->metaspace,
                      first && decoder_->metaspace_prepended ? "" : " ");
    case Decoder::Form::kPieces:
      return add_piece(token);
    case Decoder::Form::kSpaced:
      return (first ? "" : " ") + std::string(token);
  }
  return "";
}

std::string DecoderStream::add_piece(std::string_view token) {
  std::string text(token);
  for (const auto& [from, to] : decoder_->replacements) text = replaced(std::move(text), from, to);
  if (decoder_->byte_fallback) {
    if (const auto byte = byte_of(text)) {
      bytes_ += *byte;
      return "";
    }
    text = flush_bytes() + text;
  }
  while (!started_ && !text.empty()) {
    if (stripped_ == decoder_->strip_start || text[0] != ' ') {
      started_ = true;
      break;
    }
    text.erase(0, 1);
    ++stripped_;
  }
  return text;
}

// Byte tokens in a row are one text, or a U+FFFD each.
std::string DecoderStream::flush_bytes() {
  std::string bytes = std::exchange(bytes_, {});
  if (find_invalid_utf8(bytes) == bytes.npos) return bytes;
  std::string text;
  for (size_t i = 0; i < bytes.size(); ++i) text += kReplacementCharacter;
  return text;
}

std::string DecoderStream::finish() {
  if (decoder_->form == Decoder::Form::kPieces) return add_piece("");
  return lossy_utf8(std::exchange(bytes_, {}));
}

}  // namespace emberq
