// Rules of the tokenizer, each by a file small enough to read.
#include "text/tokenizer.h"

#include <gtest/gtest.h>

#include "base/json.h"
#include "support/refusal.h"
#include "support/tiny_model.h"
#include "text/byte_level.h"
#include "text/detokenizer.h"

namespace emberq::tokenizer_test {
namespace {

// A BPE over "a b c ▁" with some merges; `more` adds or replaces top-level keys.
Json small_file(const Json& more = Json::object()) {
  Json file = parse_json(
      R"({"model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "c": 2, "ab": 3, "bc": 4, "abc": 5, "▁": 6, "▁a": 7, "<unk>": 8,
                                             "<0xC3>": 9, "<0xA9>": 10, "aa": 11},
                    "merges": ["b c", "a b", "a bc", "▁ a", "a a"]}})",
      "small");
  file.update(more, true);
  return file;
}

std::vector<int> encode(const Json& file, std::string_view text) {
  return parse_tokenizer_json(file, "t.json").encode(text, SpecialTokens::kNone);
}

TEST(Bpe, MergesTheLowestRankFirstAndOfEqualOnesTheLeftmost) {
  EXPECT_EQ(encode(small_file(), "abc"), (std::vector<int>{5}));      // b c, then a bc
  EXPECT_EQ(encode(small_file(), "aaa"), (std::vector<int>{11, 0}));  // leftmost
  EXPECT_EQ(encode(small_file(), "aaaa"), (std::vector<int>{11, 11}));
  EXPECT_EQ(encode(small_file(), "ab"), (std::vector<int>{3}));
}

TEST(Bpe, LeavesOutWhatItDoesNotKnowUnlessThereIsAnUnknownToken) {
  EXPECT_EQ(encode(small_file(), "axxb"), (std::vector<int>{3}));
  EXPECT_EQ(encode(small_file({{"model", {{"unk_token", "<unk>"}}}}), "axxb"),
            (std::vector<int>{0, 8, 8, 1}));
  EXPECT_EQ(encode(small_file({{"model", {{"unk_token", "<unk>"}, {"fuse_unk", true}}}}), "axxb"),
            (std::vector<int>{0, 8, 1}));
}

TEST(Bpe, FallsBackToBytesWhereAllOfThemAreTokens) {
  const Json file = small_file({{"model", {{"unk_token", "<unk>"}, {"byte_fallback", true}}}});
  EXPECT_EQ(encode(file, "é"), (std::vector<int>{9, 10}));
  EXPECT_EQ(encode(file, "è"), (std::vector<int>{8}));
}

TEST(Bpe, MergesShortWordsAndLongOnesAlike) {
  // Words of more than 32 characters are merged in another way; the bytes of é merge with nothing.
  const Json file = small_file({{"model", {{"byte_fallback", true}}}});
  for (const std::string unit : {"abc", "aab", "abcc", "aaabcb"}) {
    std::string word;
    while (word.size() < 30) word += unit;
    const std::vector<int> once = encode(file, word);
    std::vector<int> expected = once;
    expected.insert(expected.end(), {9, 10});
    expected.insert(expected.end(), once.begin(), once.end());
    EXPECT_EQ(encode(file, word + "é" + word), expected) << word;
  }
}

TEST(Bpe, OfOneLongWordIsQuick) {
  const std::vector<int> ids = encode(small_file(), std::string(1'000'000, 'a'));
  EXPECT_EQ(ids, std::vector<int>(500'000, 11));
}

TEST(Tokenizer, OfAnEmptyTextGivesNothingButWhatIsPutAround) {
  const Tokenizer tokenizer = Tokenizer::load(test::source_folder() / "models/nano-wiki");
  EXPECT_EQ(tokenizer.encode("", SpecialTokens::kNone), std::vector<int>{});
  EXPECT_EQ(tokenizer.encode("", SpecialTokens::kAdd), std::vector<int>{0});
  EXPECT_EQ(tokenizer.decode({}), "");
  EXPECT_EQ(tokenizer.bos_id(), 0);
  EXPECT_EQ(tokenizer.eos_id(), 1);
}

TEST(Tokenizer, RefusesTextThatIsNotUtf8ByTheByte) {
  const Tokenizer tokenizer = parse_tokenizer_json(small_file(), "t.json");
  for (const char* bad :
       {"ab\xff", "ab\xc3", "ab\xed\xa0\x80", "ab\xc0\x80", "ab\xf4\x90\x80\x80"}) {
    EXPECT_EQ(refusal([&] { tokenizer.encode(bad, SpecialTokens::kNone); }),
              "the text is not UTF-8 at byte 2");
  }
}

TEST(Tokenizer, LetsThePostProcessorOfTokenizerJsonDecideWhatIsPutAround) {
  for (const char* config :
       {"{}",
        R"({"bos_token": "<|begin_of_text|>", "add_bos_token": false, "add_eos_token": true})"}) {
    const TestFolder folder;
    const fs::path model = test::source_folder() / "models/nano-wiki";
    fs::copy_file(model / "tokenizer.json", folder.path() / "tokenizer.json");
    write_text(folder.path() / "tokenizer_config.json", config);
    EXPECT_EQ(Tokenizer::load(folder.path()).encode("", SpecialTokens::kAdd), std::vector<int>{0});
  }
}

TEST(Tokenizer, RefusesAnUnknownCharacterWhereTheUnknownTokenIsNotTheModels) {
  const Json file =
      small_file({{"model", {{"unk_token", "<u>"}}},
                  {"added_tokens", {{{"id", 12}, {"content", "<u>"}, {"special", true}}}}});
  EXPECT_EQ(encode(file, "ab<u>"), (std::vector<int>{3, 12}));
  EXPECT_REFUSED(encode(file, "abx"), "no token stands for the character 'x'",
                 "unk_token '<u>' is not in the vocabulary");
}

TEST(Tokenizer, RefusesAPatternThatMatchesBackwards) {
  const auto cut = [](const char* pattern) {
    return encode(
        small_file(
            {{"pre_tokenizer",
              {{"type", "Split"}, {"behavior", "Isolated"}, {"pattern", {{"Regex", pattern}}}}}}),
        "aaa");
  };
  EXPECT_REFUSED(cut("(?<=\\Ka)"), "a regular expression matches backwards");
}

TEST(AddedTokens, AreTakenWholeTheLongestFirst) {
  const Json file = small_file({{"added_tokens",
                                 {{{"id", 12}, {"content", "<x>"}, {"special", true}},
                                  {{"id", 13}, {"content", "<x><y>"}, {"special", true}}}}});
  EXPECT_EQ(encode(file, "a<x>b<x><y><x"), (std::vector<int>{0, 12, 1, 13}));
  const Tokenizer tokenizer = parse_tokenizer_json(file, "t.json");
  EXPECT_TRUE(tokenizer.is_special(13));
  EXPECT_EQ(tokenizer.decode(std::vector<int>{0, 12, 1}, SkipSpecial::kYes), "a b");
}

TEST(AddedTokens, StripWhiteSpaceAndKeepToWholeWordsWhereTheySaySo) {
  const auto with = [](const char* key) {
    return small_file(
        {{"added_tokens", {{{"id", 12}, {"content", "bb"}, {"special", true}, {key, true}}}},
         {"pre_tokenizer",
          {{"type", "Metaspace"}, {"replacement", "▁"}, {"prepend_scheme", "never"}}}});
  };
  EXPECT_EQ(encode(with("lstrip"), "a \t bb a"), (std::vector<int>{0, 12, 7}));
  EXPECT_EQ(encode(with("rstrip"), "a bb \n a"), (std::vector<int>{0, 6, 12, 0}));
  EXPECT_EQ(encode(with("single_word"), "abb bb"), (std::vector<int>{3, 1, 6, 12}));
}

TEST(ByteLevel, WritesEveryByteInACharacterOfItsOwn) {
  std::string bytes;
  for (int b = 0; b < 256; ++b) bytes += char(b);
  const std::string text = byte_level_encode(bytes);
  EXPECT_EQ(find_invalid_utf8(text), text.npos);
  EXPECT_EQ(byte_level_decode(text), bytes);
  EXPECT_EQ(byte_level_encode(" \n"), "ĠĊ");
  EXPECT_EQ(byte_level_decode("€"), std::nullopt);
}

TEST(Unicode, ReplacesEachMaximalPartOfWhatIsNotUtf8) {
  const std::string r(kReplacementCharacter);
  EXPECT_EQ(lossy_utf8("a\xf0\x9f\x91x"), "a" + r + "x");  // one unfinished character
  EXPECT_EQ(lossy_utf8("\xff\xfe"), r + r);
  EXPECT_EQ(lossy_utf8("\xed\xa0\x80"), r + r + r);  // a surrogate: no part of it can begin one
  EXPECT_EQ(unfinished_utf8("a\xf0\x9f\x91"), 3u);
  EXPECT_EQ(unfinished_utf8("\xe2\x82\xac"), 0u);
}

TEST(TokenizerJson, NamesWhatItDoesNotRunOrUnderstand) {
  const auto expect = [](const Json& file, const std::string& sentence) {
    EXPECT_REFUSED(parse_tokenizer_json(file, "t.json"), sentence);
  };
  expect(small_file({{"model", {{"type", "Unigram"}}}}),
         "t.json: model.type must be BPE, got \"Unigram\"");
  expect(small_file({{"normalizer", {{"type", "Precompiled"}}}}), "of a normalizer must be");
  expect(small_file({{"pre_tokenizer", {{"type", "Unheard"}}}}), "of a pre-tokenizer must be");
  expect(small_file({{"decoder", {{"type", "WordPiece"}}}}), "of a decoder must be");
  expect(small_file({{"post_processor", {{"type", "Unheard"}}}}), "of a post-processor must be");
  expect(small_file({{"model", {{"merges", {"a d"}}}}}),
         "the merge of 'a' and 'd' needs the token 'd'");
  expect(small_file({{"model", {{"merges", {"ab"}}}}}), "a merge must be two tokens");
  expect(small_file({{"model", {{"vocab", {{"z", 0}}}}}}), "the id 0 has two tokens");
  expect(small_file({{"model", {{"vocab", {{"z", -1}}}}}}), "has the id -1");
  expect(small_file({{"model", {{"dropout", 0.1}}}}), "dropout is not supported");
  expect(small_file({{"added_tokens", {{{"id", 3}, {"content", "zz"}}}}}),
         "the added token 'zz' has the id 3, but its place gives it the id 12");
  expect(small_file({{"added_tokens", {{{"id", 3}, {"content", "a"}}}}}),
         "the added token 'a' has the id 3, but its place gives it the id 0");
  expect(small_file({{"post_processor",
                      {{"type", "BertProcessing"}, {"cls", {"a", 0}}, {"sep", {"q", 99}}}}}),
         "post_processor: there is no token of id 99");
  expect(
      small_file({{"pre_tokenizer",
                   {{"type", "Split"}, {"behavior", "Isolated"}, {"pattern", {{"Regex", "(a"}}}}}}),
      "cannot compile the regular expression");
  expect(Json::array(), "t.json must hold a JSON object");
  expect(Json::object(), "t.json: model is missing");
}

TEST(Tokenizer, NamesTheFolderThatHasNone) {
  const TestFolder folder;
  EXPECT_REFUSED(Tokenizer::load(folder.path()), folder.path().string() + " has no tokenizer");
  write_text(folder.path() / "tokenizer.model", "\x0a\x0e\x0a\x05<unk>");
  EXPECT_REFUSED(Tokenizer::load(folder.path()), "line 1 is not a token in base64");
}

}  // namespace
}  // namespace emberq::tokenizer_test
