#pragma once

#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/json_fwd.h"
#include "text/pattern.h"

namespace emberq {

// tokenizer.json's `decoder`: steps from token texts back to text, each from a sequence of texts to
// another; the last sequence, joined, is the text.
class Decoder {
 public:
  struct Spaced {};  // a space before each but the first: what is done where there is no decoder
  struct Replace {   // in each
    Pattern pattern;
    std::string content;
  };
  struct Strip {  // of each as many as `start` and `stop` characters at its ends
    std::string character;
    int start = 0, stop = 0;
  };
  struct ByteFallback {};  // runs of byte tokens, <0x0A>, become text, or else a U+FFFD for each
  struct Metaspace {       // a replacement becomes a space
    std::string replacement;
    bool prepended = true;  // the first text loses its replacements
  };
  struct ByteLevel {};  // all become one: characters that stand for bytes (byte_level.h)
  struct Fuse {};       // all become one
  using Step = std::variant<Spaced, Replace, Strip, ByteFallback, Metaspace, ByteLevel, Fuse>;

  Decoder() : steps_{Spaced{}} {}
  explicit Decoder(std::vector<Step> steps) : steps_(std::move(steps)) {}
  static Decoder byte_level() { return Decoder({ByteLevel{}}); }
  static Decoder parse(const JsonObject& json);  // InputError names a type that is not run

  const std::vector<Step>& steps() const { return steps_; }

 private:
  std::vector<Step> steps_;
};

// Decodes token by token. What add() and finish() return, joined, is the text of the whole
// sequence; no call ends within a character. The decoder must live longer.
class DecoderStream {
 public:
  explicit DecoderStream(const Decoder& decoder);

  std::string add(std::string_view token);
  std::string finish();

 private:
  // What a step knows of the texts so far.
  struct State {
    bool first = true;    // no text so far
    bool pieces = false;  // what comes is pieces of one text
    std::string held;     // bytes that make no character yet, or text that the step needs whole
    int stripped = 0;     // characters taken from the start of the one text
    bool started = false;
  };

  // Hands a text to step i, which hands what it makes of it to the next.
  void feed(size_t i, std::string text);
  void feed_fallback(size_t i, std::string text);
  void feed_piece(size_t i, std::string text);
  void end(size_t i);  // no more texts come to step i

  const Decoder* decoder_;
  std::vector<State> states_;
  std::string out_;
};

}  // namespace emberq
