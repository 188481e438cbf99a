#include "text/normalizer.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "base/json.h"
#include "text/boundary.h"
#include "text/unicode_age.h"

namespace emberq {
namespace {

using Result = Normalizer::Result;

Result apply_step(NormalForm form, std::string text) { return {to_normal_form(text, form)}; }

Result apply_step(const Normalizer::Prepend& step, std::string text) {
  if (!text.empty()) text.insert(0, step.text);
  return {std::move(text)};
}

Result apply_step(const Normalizer::Replace& step, const std::string& text) {
  Result result;
  size_t at = 0;
  for (const Span match : step.pattern.matches(text)) {
    result.text.append(text, at, match.begin - at).append(step.content);
    at = match.end;
    // A replacement is taken to come from the last character that it replaces.
    if (match.begin == 0 && match.end > 0)
      result.keeps_start = !step.content.empty() && match.end == utf8_length_of(text[0]);
  }
  result.text.append(text, at);
  return result;
}

Result apply_step(const Normalizer::Strip& step, const std::string& text) {
  const size_t begin = step.left ? space_at_start(text) : 0;
  const size_t end = step.right ? std::max(begin, space_at_end(text)) : text.size();
  return {text.substr(begin, end - begin), begin == 0};
}

Result apply_step(Normalizer::Lowercase, const std::string& text) { return {to_lower_case(text)}; }

// The tokenizers package takes marks from a table of Unicode 9, in which these three differ.
std::string marks_regex() {
  return fmt::format(R"([\x{{1CF2}}\x{{1CF3}}[\p{{M}}&&[^\x{{111C9}}{}]]])", kSinceUnicode10);
}

}  // namespace

Normalizer Normalizer::parse(const JsonObject& json) {
  std::vector<Step> steps;
  parse_into(json, steps);
  return Normalizer(std::move(steps));
}

void Normalizer::parse_into(const JsonObject& json, std::vector<Step>& steps) {
  static const std::map<std::string, Step> plain = {{"NFC", NormalForm::kNfc},
                                                    {"NFD", NormalForm::kNfd},
                                                    {"NFKC", NormalForm::kNfkc},
                                                    {"NFKD", NormalForm::kNfkd},
                                                    {"Lowercase", Lowercase{}}};
  const auto type = json.get<std::string>("type");
  if (const auto step = plain.find(type); step != plain.end())
    steps.push_back(step->second);
  else if (type == "Prepend")
    steps.push_back(Prepend{json.get<std::string>("prepend")});
  else if (type == "Replace")
    steps.push_back(Replace{Pattern::parse(json), json.get<std::string>("content")});
  else if (type == "StripAccents")
    steps.push_back(Replace{Pattern::regex(marks_regex()), ""});
  else if (type == "Strip")
    steps.push_back(Strip{json.get<bool>("strip_left"), json.get<bool>("strip_right")});
  else if (type == "Sequence")
    for (const Json& part : json.array("normalizers"))
      parse_into(JsonObject(part, json.where()), steps);
  else
    json.reject("type",
                "of a normalizer must be NFC, NFD, NFKC, NFKD, Lowercase, Strip, StripAccents, "
                "Prepend, Replace or Sequence");
}

Normalizer::Result Normalizer::apply(std::string_view text) const {
  Result result{std::string(text)};
  for (const Step& step : steps_) {
    const bool kept_start = result.keeps_start;
    result = std::visit([&](const auto& s) { return apply_step(s, std::move(result.text)); }, step);
    result.keeps_start = result.keeps_start && kept_start;
  }
  return result;
}

}  // namespace emberq
