// tokenizer.json's `pre_tokenizer`.
#include <fmt/format.h>

#include <map>

#include "base/json.h"
#include "text/boundary.h"
#include "text/pre_tokenizer.h"
#include "text/unicode.h"
#include "text/unicode_age.h"

namespace emberq {
namespace {

using Behavior = PreTokenizer::Behavior;
using Split = PreTokenizer::Split;
using Step = PreTokenizer::Step;

// The tokenizers package takes punctuation from a table of Unicode 8, in which two characters were
// punctuation that are not now.
std::string punctuation_regex() {
  return fmt::format(R"([!-/:-@\[-`{{-~\x{{166D}}\x{{111C9}}[\p{{P}}&&[^{}{}]]])",
                     kPunctuationOfUnicode9, kSinceUnicode10);
}

// The scripts of Unicode 9, which the tokenizers package has a table of, less Hiragana and
// Katakana, which it counts as Han.
constexpr std::string_view kScripts =
    "Common Latin Adlam Ahom AnatolianHieroglyphs Arabic Armenian Avestan Balinese Bamum BassaVah "
    "Batak Bengali Bhaiksuki Bopomofo Brahmi Braille Buginese Buhid CanadianAboriginal Carian "
    "CaucasianAlbanian Chakma Cham Cherokee Coptic Cuneiform Cypriot Cyrillic Deseret Devanagari "
    "Duployan EgyptianHieroglyphs Elbasan Ethiopic Georgian Glagolitic Gothic Grantha Greek "
    "Gujarati Gurmukhi Han Hangul Hanunoo Hatran Hebrew ImperialAramaic Inherited "
    "InscriptionalPahlavi InscriptionalParthian Javanese Kaithi Kannada KayahLi Kharoshthi Khmer "
    "Khojki Khudawadi Lao Lepcha Limbu LinearA LinearB Lisu Lycian Lydian Mahajani Malayalam "
    "Mandaic Manichaean Marchen MeeteiMayek MendeKikakui MeroiticCursive MeroiticHieroglyphs Miao "
    "Modi Mongolian Mro Multani Myanmar Nabataean NewTaiLue Newa Nko Ogham OlChiki OldHungarian "
    "OldItalic OldNorthArabian OldPermic OldPersian OldSouthArabian OldTurkic Oriya Osage Osmanya "
    "PahawhHmong Palmyrene PauCinHau PhagsPa Phoenician PsalterPahlavi Rejang Runic Samaritan "
    "Saurashtra Sharada Shavian Siddham SignWriting Sinhala SoraSompeng Sundanese SylotiNagri "
    "Syriac Tagalog Tagbanwa TaiLe TaiTham TaiViet Takri Tamil Tangut Telugu Thaana Thai Tibetan "
    "Tifinagh Tirhuta Ugaritic Vai WarangCiti Yi";

// The characters of a script of kScripts as that table has them, for the inside of a set.
std::string script_set(std::string_view name) {
  const std::string set = fmt::format("\\p{{{}}}", name);
  if (name == "Common") return set + "\\x{589}\\x{61C}&&[^\\x{30FC}]";
  if (name == "Armenian") return set + "&&[^\\x{589}]";
  if (name == "Arabic") return set + "&&[^\\x{61C}]";
  if (name == "Inherited") return set + "&&[^\\x{953}\\x{954}]";
  if (name == "Devanagari") return set + "\\x{953}\\x{954}";
  if (name == "Han") return set + "\\p{Hiragana}\\p{Katakana}\\x{30FC}";
  return set;
}

// A run of one script, with the spaces and the characters without a script behind its characters.
// What stands before the first character of a script is dropped, as in the package.
std::string scripts_regex() {
  std::string runs;
  for (size_t at = 0; at < kScripts.size();) {
    const size_t end = std::min(kScripts.find(' ', at), kScripts.size());
    const std::string set = script_set(kScripts.substr(at, end - at));
    runs += fmt::format("{}[{}](?:\\g<none>|[{}])*", runs.empty() ? "" : "|", set, set);
    at = end + 1;
  }
  return fmt::format("(?<none>[ \\p{{Cn}}\\p{{Co}}{}]){{0}}(?!\\g<none>)(?:{})", kSinceUnicode10,
                     runs);
}

Behavior parse_behavior(const JsonObject& json) {
  static const std::map<std::string, Behavior> behaviors = {
      {"Isolated", Behavior::kIsolated},
      {"Removed", Behavior::kRemoved},
      {"MergedWithPrevious", Behavior::kMergedWithPrevious},
      {"MergedWithNext", Behavior::kMergedWithNext},
      {"Contiguous", Behavior::kContiguous}};
  const auto found = behaviors.find(json.get<std::string>("behavior"));
  if (found == behaviors.end()) json.reject("behavior", "is not known");
  return found->second;
}

std::string one_character(const JsonObject& json, std::string_view key) {
  std::string text = json.get<std::string>(key);
  if (text.empty() || utf8_length_of(text[0]) != text.size())
    json.reject(key, "must be one character");
  return text;
}

Step parse_metaspace(const JsonObject& json) {
  using Scheme = PreTokenizer::PrependScheme;
  static const std::map<std::string, Scheme> schemes = {
      {"never", Scheme::kNever}, {"first", Scheme::kFirst}, {"always", Scheme::kAlways}};
  PreTokenizer::Metaspace step{.replacement = one_character(json, "replacement")};
  const bool prefixed = json.get_or("add_prefix_space", true);
  if (json.has("prepend_scheme")) {
    const auto found = schemes.find(json.get<std::string>("prepend_scheme"));
    if (found == schemes.end()) json.reject("prepend_scheme", "must be never, first or always");
    step.prepend = found->second;
    if (!prefixed && step.prepend != Scheme::kNever)
      json.reject("add_prefix_space", "must be true where prepend_scheme is not never");
  } else if (!prefixed) {
    step.prepend = Scheme::kNever;  // files from before prepend_scheme
  }
  step.split = json.get_or("split", true);
  return step;
}

Split split(std::string_view regex, Behavior behavior, bool invert = false) {
  return {Pattern::regex(regex), behavior, invert};
}

void parse_byte_level(const JsonObject& json, std::vector<Step>& steps) {
  if (json.get_or("add_prefix_space", true)) steps.push_back(PreTokenizer::PrefixSpace{});
  if (json.get_or("use_regex", true)) steps.push_back(split(kGpt2Regex, Behavior::kIsolated));
  steps.push_back(PreTokenizer::ByteLevel{});
}

// One of the kinds that are a single cut.
Split parse_cut(const JsonObject& json, const std::string& type) {
  if (type == "Split")
    return {Pattern::parse(json), parse_behavior(json), json.get_or("invert", false)};
  if (type == "Digits")
    return split("\\p{N}", json.get_or("individual_digits", false) ? Behavior::kIsolated
                                                                   : Behavior::kContiguous);
  if (type == "WhitespaceSplit") return split("\\s", Behavior::kRemoved);
  if (type == "Whitespace")
    return split(fmt::format("{0}+|[^{0}\\s]+", kRustWord), Behavior::kRemoved, true);
  if (type == "Punctuation")
    return split(punctuation_regex(),
                 json.has("behavior") ? parse_behavior(json) : Behavior::kIsolated);
  if (type == "CharDelimiterSplit")
    return {Pattern::literal(one_character(json, "delimiter")), Behavior::kRemoved};
  if (type == "UnicodeScripts") return split(scripts_regex(), Behavior::kRemoved, true);
  json.reject("type",
              "of a pre-tokenizer must be Split, ByteLevel, Metaspace, Digits, Punctuation, "
              "Whitespace, WhitespaceSplit, CharDelimiterSplit, BertPreTokenizer, UnicodeScripts, "
              "FixedLength or Sequence");
}

void parse_into(const JsonObject& json, std::vector<Step>& steps) {
  const auto type = json.get<std::string>("type");
  if (type == "Sequence") {
    for (const Json& part : json.array("pretokenizers"))
      parse_into(JsonObject(part, json.where()), steps);
  } else if (type == "ByteLevel") {
    parse_byte_level(json, steps);
  } else if (type == "Metaspace") {
    steps.push_back(parse_metaspace(json));
  } else if (type == "BertPreTokenizer") {
    steps.push_back(split("\\s", Behavior::kRemoved));
    steps.push_back(split(punctuation_regex(), Behavior::kIsolated));
  } else if (type == "FixedLength") {
    const auto length = json.get_or<int64_t>("length", 5);
    if (length < 1) json.reject("length", "must be positive");
    steps.push_back(PreTokenizer::FixedLength{size_t(length)});
  } else {
    steps.push_back(parse_cut(json, type));
  }
}

}  // namespace

PreTokenizer PreTokenizer::parse(const JsonObject& json) {
  std::vector<Step> steps;
  parse_into(json, steps);
  return PreTokenizer(std::move(steps));
}

}  // namespace emberq
