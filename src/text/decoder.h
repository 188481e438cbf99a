#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/json.h"

namespace emberq {

// tokenizer.json's `decoder`: from token texts back to text.
struct Decoder {
  enum class Form {
    kByteLevel,  // characters that stand for bytes (byte_level.h)
    kPieces,     // SentencePiece: replacements, byte tokens <0x0A>, spaces stripped at the start
    kMetaspace,  // a replacement for spaces, which the first token loses
    kSpaced,     // no decoder: tokens with spaces between
  };
  Form form = Form::kSpaced;
  std::vector<std::pair<std::string, std::string>> replacements;  // kPieces, in order
  bool byte_fallback = false;                                     // kPieces
  int strip_start = 0;                                            // kPieces: spaces at most
  std::string metaspace;                                          // kMetaspace
  bool metaspace_prepended = true;                                // kMetaspace

  static Decoder parse(const JsonObject& json);  // InputError names a type that is not run
};

// Decodes token by token. What add() and finish() return, joined, is the text of the whole
// sequence; no call ends within a character.
class DecoderStream {
 public:
  explicit DecoderStream(const Decoder& decoder) : decoder_(&decoder) {}

  std::string add(std::string_view token);
  std::string finish();

 private:
  std::string add_piece(std::string_view token);
  std::string flush_bytes();

  const Decoder* decoder_;
  std::string bytes_;     // that do not yet make a character
  bool first_ = true;     // no token so far
  int stripped_ = 0;      // spaces taken from the start
  bool started_ = false;  // the text's first character that stays is out
};

}  // namespace emberq
