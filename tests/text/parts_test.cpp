// Each part of a tokenizer against the tokenizers package, and the files beside it against
// transformers (tools/make_tokenizer_parts_golden.py).
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <map>

#include "base/json.h"
#include "support/shared.h"
#include "support/test_folder.h"
#include "text/tokenizer.h"
#include "text/unicode.h"

namespace emberq::parts_test {
namespace {

Json golden(const std::string& name) {
  return read_json(test::source_folder() / "tests/golden/text" / (name + ".json"));
}

const Json& kinds() {
  static const Json json = golden("kinds");
  return json;
}

class Fnv1a {
 public:
  void add(uint32_t value) {
    for (int shift = 0; shift < 32; shift += 8)
      hash_ = (hash_ ^ (value >> shift & 255)) * 0x100000001b3;
  }
  void add(const Words& words) {
    for (const auto& word : words.words) add(uint32_t(word.begin)), add(uint32_t(word.end));
    add(0xFFFFFFFF);
  }
  std::string hex() const { return fmt::format("{:016x}", hash_); }

 private:
  uint64_t hash_ = 0xcbf29ce484222325;
};

PreTokenizer pre_tokenizer(const Json& json) { return PreTokenizer::parse(JsonObject(json, "t")); }

// The base with some parts of another: an object's keys are put over the base's.
Json with_parts(Json base, const Json& parts) {
  for (const auto& [key, value] : parts.items())
    if (key == "model")
      base[key].update(value);
    else
      base[key] = value;
  return base;
}

Tokenizer tokenizer_with(const Json& parts) {
  return parse_tokenizer_json(with_parts(kinds()["base"], parts), "t.json");
}

TEST(Patterns, CutEveryTextWhereThePackageDoes) {
  const Json file = golden("patterns");
  const auto texts = file["texts"].get<std::vector<std::string>>();
  for (const Json& expected : file["patterns"]) {
    const PreTokenizer isolated = pre_tokenizer({{"type", "Split"},
                                                 {"behavior", "Isolated"},
                                                 {"pattern", {{"Regex", expected["pattern"]}}}});
    for (size_t i = 0; i < texts.size(); ++i) {
      std::vector<size_t> ends;
      for (const auto& word : isolated.apply(texts[i], true).words) ends.push_back(word.end);
      EXPECT_EQ(ends, expected["isolated"][i].get<std::vector<size_t>>())
          << expected["pattern"] << " in " << texts[i];
    }
  }
}

TEST(Patterns, ActOnTheirMatchesAsThePackageDoes) {
  const Json file = golden("patterns");
  const std::map<std::string, std::string> behaviors = {
      {"isolated", "Isolated"},
      {"removed", "Removed"},
      {"merged_with_previous", "MergedWithPrevious"},
      {"merged_with_next", "MergedWithNext"},
      {"contiguous", "Contiguous"}};
  for (const Json& expected : file["patterns"])
    for (const auto& [name, behavior] : behaviors)
      for (const bool invert : {false, true}) {
        const PreTokenizer split = pre_tokenizer({{"type", "Split"},
                                                  {"behavior", behavior},
                                                  {"invert", invert},
                                                  {"pattern", {{"Regex", expected["pattern"]}}}});
        Fnv1a hash;
        for (const Json& text : file["texts"]) hash.add(split.apply(text.get<std::string>(), true));
        const std::string key = name + (invert ? " inverted" : "");
        EXPECT_EQ(hash.hex(), expected["hashes"][key].get<std::string>())
            << expected["pattern"] << " " << key;
      }
}

TEST(Normalizers, GiveThePackagesTexts) {
  for (const Json& expected : kinds()["normalizer"]) {
    const Normalizer normalizer = Normalizer::parse(JsonObject(expected[0], "t"));
    for (size_t i = 0; i < kinds()["texts"].size(); ++i)
      EXPECT_EQ(normalizer.apply(kinds()["texts"][i].get<std::string>()).text,
                expected[1][i].get<std::string>())
          << expected[0] << " of " << kinds()["texts"][i];
  }
}

TEST(PreTokenizers, CutThePackagesWords) {
  for (const Json& expected : kinds()["pre_tokenizer"]) {
    const PreTokenizer made = pre_tokenizer(expected[0]);
    for (size_t i = 0; i < kinds()["texts"].size(); ++i) {
      const Words words = made.apply(kinds()["texts"][i].get<std::string>(), true);
      std::vector<std::string> texts;
      for (size_t w = 0; w < words.words.size(); ++w) texts.emplace_back(words[w]);
      EXPECT_EQ(texts, expected[1][i].get<std::vector<std::string>>())
          << expected[0] << " of " << kinds()["texts"][i];
    }
  }
}

TEST(PostProcessors, PutThePackagesIdsAround) {
  for (const Json& expected : kinds()["post_processor"])
    EXPECT_EQ(tokenizer_with({{"post_processor", expected[0]}}).encode("ab c", SpecialTokens::kAdd),
              expected[1].get<std::vector<int>>())
        << expected[0];
}

TEST(Decoders, GiveThePackagesTexts) {
  for (const Json& expected : kinds()["decoder"]) {
    const Tokenizer tokenizer = tokenizer_with({{"decoder", expected[0]}});
    for (size_t i = 0; i < kinds()["decoded"].size(); ++i) {
      const std::string text = tokenizer.decode(kinds()["decoded"][i].get<std::vector<int>>());
      EXPECT_EQ(find_invalid_utf8(text), text.npos);
      if (!expected[1][i].is_null()) {  // null: the package panics
        EXPECT_EQ(text, expected[1][i].get<std::string>())
            << expected[0] << " of " << kinds()["decoded"][i];
      }
    }
  }
}

TEST(AddedTokens, AndTheModelGiveThePackagesIds) {
  for (const Json& expected : kinds()["added"]) {
    const Tokenizer tokenizer = tokenizer_with(expected["tokenizer"]);
    for (size_t i = 0; i < expected["texts"].size(); ++i)
      EXPECT_EQ(tokenizer.encode(expected["texts"][i].get<std::string>(), SpecialTokens::kNone),
                expected["ids"][i].get<std::vector<int>>())
          << expected["name"] << " of " << expected["texts"][i];
  }
}

// Every character of Unicode 14, which the golden is of.
std::vector<std::string> every_character() {
  const auto ends = kinds()["every_character"]["characters"].get<std::vector<uint32_t>>();
  std::vector<std::string> characters;
  for (size_t i = 0; i < ends.size(); i += 2)
    for (uint32_t c = ends[i]; c < ends[i + 1]; ++c) characters.push_back(utf8_encode(c));
  return characters;
}

TEST(EveryCharacter, IsNormalizedAsByThePackage) {
  for (const char* kind : {"Lowercase", "StripAccents"}) {
    const Json json = {{"type", kind}};
    const Normalizer normalizer = Normalizer::parse(JsonObject(json, "t"));
    Fnv1a hash;
    for (const std::string& character : every_character()) {
      const std::string text = normalizer.apply(character).text;
      std::vector<uint32_t> codes;
      for (size_t at = 0; at < text.size(); at += utf8_length_of(text[at]))
        codes.push_back(utf8_decode(std::string_view(text).substr(at, utf8_length_of(text[at]))));
      hash.add(uint32_t(codes.size()));
      for (const uint32_t code : codes) hash.add(code);
    }
    EXPECT_EQ(hash.hex(), kinds()["every_character"][kind].get<std::string>()) << kind;
  }
}

TEST(EveryCharacter, IsCutAsByThePackage) {
  for (const char* kind :
       {"Punctuation", "Whitespace", "WhitespaceSplit", "UnicodeScripts", "Digits"}) {
    const PreTokenizer made = pre_tokenizer({{"type", kind}});
    Fnv1a hash;
    for (const std::string& character : every_character())
      hash.add(made.apply("a" + character + "b", true));
    EXPECT_EQ(hash.hex(), kinds()["every_character"][kind].get<std::string>()) << kind;
  }
}

// The folders of the golden; tokenizer.json is the base with the parts given.
class TokenizerFolder : public testing::Test {
 protected:
  static Tokenizer load(const Json& base, const Json& files) {
    const TestFolder folder;
    for (const auto& [name, content] : files.items()) {
      const Json whole = name == "tokenizer.json" ? with_parts(base, content) : content;
      write_text(folder.path() / name, whole.is_string() ? whole.get<std::string>() : whole.dump());
    }
    return Tokenizer::load(folder.path());
  }
};

TEST_F(TokenizerFolder, GivesTransformersIdsAndTexts) {
  const Json file = golden("folders");
  for (const Json& expected : file["folders"]) {
    const Tokenizer tokenizer = load(file["base"], expected["files"]);
    const auto id = [](const std::optional<int>& i) { return i ? Json(*i) : Json(); };
    EXPECT_EQ(id(tokenizer.bos_id()), expected["bos"]) << expected["name"];
    EXPECT_EQ(id(tokenizer.eos_id()), expected["eos"]) << expected["name"];
    for (size_t i = 0; i < file["texts"].size(); ++i) {
      const auto ids = tokenizer.encode(file["texts"][i].get<std::string>(), SpecialTokens::kAdd);
      EXPECT_EQ(ids, expected["ids"][i].get<std::vector<int>>())
          << expected["name"] << " of " << file["texts"][i];
      EXPECT_EQ(tokenizer.decode(ids, SkipSpecial::kYes), expected["skipped"][i].get<std::string>())
          << expected["name"] << " of " << file["texts"][i];
    }
  }
}

}  // namespace
}  // namespace emberq::parts_test
