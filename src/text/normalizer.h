#pragma once

#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/json_fwd.h"
#include "text/pattern.h"
#include "text/unicode.h"

namespace emberq {

// tokenizer.json's `normalizer`: steps from a text to the text that is cut into tokens.
class Normalizer {
 public:
  struct Prepend {
    std::string text;  // to a text that is not empty
  };
  struct Replace {
    Pattern pattern;
    std::string content;
  };
  struct Strip {
    bool left = true, right = true;  // of white space
  };
  struct Lowercase {};
  using Step = std::variant<NormalForm, Prepend, Replace, Strip, Lowercase>;

  struct Result {
    std::string text;
    bool keeps_start = true;  // its first character comes from the first of the text given
  };

  Normalizer() = default;  // leaves a text as it is
  explicit Normalizer(std::vector<Step> steps) : steps_(std::move(steps)) {}
  static Normalizer parse(const JsonObject& json);  // InputError names a type that is not run

  bool empty() const { return steps_.empty(); }
  Result apply(std::string_view text) const;

 private:
  static void parse_into(const JsonObject& json, std::vector<Step>& steps);

  std::vector<Step> steps_;
};

}  // namespace emberq
