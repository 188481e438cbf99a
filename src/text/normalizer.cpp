#include "text/normalizer.h"

#include <map>

namespace emberq {

Normalizer Normalizer::parse(const JsonObject& json) {
  std::vector<Step> steps;
  parse_into(json, steps);
  return Normalizer(std::move(steps));
}

void Normalizer::parse_into(const JsonObject& json, std::vector<Step>& steps) {
  static const std::map<std::string, NormalForm> forms = {{"NFC", NormalForm::kNfc},
                                                          {"NFD", NormalForm::kNfd},
                                                          {"NFKC", NormalForm::kNfkc},
                                                          {"NFKD", NormalForm::kNfkd}};
  const auto type = json.get<std::string>("type");
  if (const auto form = forms.find(type); form != forms.end())
    steps.push_back(form->second);
  else if (type == "Prepend")
    steps.push_back(Prepend{json.get<std::string>("prepend")});
  else if (type == "Replace")
    steps.push_back(Replace{Pattern::parse(json), json.get<std::string>("content")});
  else if (type == "Sequence")
    for (const Json& part : json.array("normalizers"))
      parse_into(JsonObject(part, json.where()), steps);
  else
    json.reject("type",
                "of a normalizer must be NFC, NFD, NFKC, NFKD, Prepend, Replace or Sequence");
}

std::string Normalizer::apply(std::string_view text) const {
  std::string result(text);
  for (const Step& step : steps_) {
    if (const auto* form = std::get_if<NormalForm>(&step)) {
      result = to_normal_form(result, *form);
    } else if (const auto* prepend = std::get_if<Prepend>(&step)) {
      if (!result.empty()) result.insert(0, prepend->text);
    } else {
      const auto& replace = std::get<Replace>(step);
      std::string replaced;
      size_t at = 0;
      for (const Span match : replace.pattern.matches(result)) {
        replaced.append(result, at, match.begin - at).append(replace.content);
        at = match.end;
      }
      result = replaced.append(result, at);
    }
  }
  return result;
}

}  // namespace emberq
