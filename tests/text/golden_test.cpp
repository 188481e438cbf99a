// Ids and texts against the tokenizers and tiktoken packages (tools/make_text_golden.py).
#include <fmt/format.h>
#include <gtest/gtest.h>

#include "base/json.h"
#include "support/shared.h"
#include "text/detokenizer.h"
#include "text/tokenizer.h"

namespace emberq::golden_test {
namespace {

const Json& golden() {
  static const Json json = read_json(test::source_folder() / "tests/golden/text/golden.json");
  return json;
}

// Where a tokenizer is; of those of shared/data a copy in a folder of the form that load() reads.
Tokenizer load(const std::string& name) {
  const fs::path shared = test::shared_folder();
  if (name == "small-wiki") return Tokenizer::load(test::source_folder() / "models/nano-wiki");
  if (name == "llama3" || name == "qwen2.5")
    return Tokenizer::load(shared / "data/tokenizers" / name);
  const fs::path file =
      name == "llama2" ? "llama2/tokenizer.derived.json" : "mistral/tokenizer.v1.derived.json";
  return parse_tokenizer_json(read_json(shared / "data/tokenizers" / file), file.string());
}

uint64_t fnv1a(const std::vector<int>& ids) {
  uint64_t hash = 0xcbf29ce484222325;
  for (const int id : ids)
    for (int shift = 0; shift < 32; shift += 8)
      hash = (hash ^ (uint32_t(id) >> shift & 255)) * 0x100000001b3;
  return hash;
}

class GoldenTokenizer : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    if (GetParam() != "small-wiki") EMBERQ_NEEDS_SHARED("data/tokenizers");
  }
  const Json& expected() const { return golden()["tokenizers"][GetParam()]; }
};

TEST_P(GoldenTokenizer, EncodesEverySampleToThePackagesIds) {
  const Tokenizer tokenizer = load(GetParam());
  for (const auto& [sample, text] : golden()["samples"].items()) {
    const auto ids = expected()["samples"][sample]["ids"].get<std::vector<int>>();
    EXPECT_EQ(tokenizer.encode(text.get<std::string>(), SpecialTokens::kNone), ids) << sample;
  }
}

TEST_P(GoldenTokenizer, DecodesEverySamplesIdsToThePackagesText) {
  const Tokenizer tokenizer = load(GetParam());
  for (const auto& [sample, made] : expected()["samples"].items())
    EXPECT_EQ(tokenizer.decode(made["ids"].get<std::vector<int>>()),
              made["text"].get<std::string>())
        << sample;
}

TEST_P(GoldenTokenizer, StreamsTheSameTextInPiecesOfWholeCharacters) {
  const Tokenizer tokenizer = load(GetParam());
  for (const auto& [sample, made] : expected()["samples"].items()) {
    Detokenizer detokenizer(tokenizer, SkipSpecial::kNo);
    std::string text;
    for (const int id : made["ids"].get<std::vector<int>>()) {
      const std::string piece = detokenizer.add(id);
      EXPECT_EQ(find_invalid_utf8(piece), piece.npos);
      text += piece;
    }
    EXPECT_EQ(text + detokenizer.finish(), made["text"].get<std::string>()) << sample;
  }
}

TEST_P(GoldenTokenizer, EncodesWikiText2ToThePackagesIds) {
  EMBERQ_NEEDS_SHARED("data/wikitext2");
  const auto ids =
      load(GetParam())
          .encode(read_text(test::shared_folder() / "data/wikitext2/wiki.test.gptqjoin.txt"),
                  SpecialTokens::kNone);
  EXPECT_EQ(int64_t(ids.size()), expected()["wikitext2"]["count"].get<int64_t>());
  EXPECT_EQ(fmt::format("{:016x}", fnv1a(ids)),
            expected()["wikitext2"]["fnv1a"].get<std::string>());
}

INSTANTIATE_TEST_SUITE_P(Packages, GoldenTokenizer,
                         testing::Values("small-wiki", "llama3", "qwen2.5", "llama2", "mistral"),
                         [](const auto& p) {
                           std::string name = p.param;
                           for (char& c : name)
                             if (!std::isalnum(static_cast<unsigned char>(c))) c = '_';
                           return name;
                         });

}  // namespace
}  // namespace emberq::golden_test
