#include "text/detokenizer.h"

#include <gtest/gtest.h>

#include <limits>

#include "support/shared.h"

namespace emberq::detokenizer_test {
namespace {

TEST(Detokenizer, MakesNothingOfAnIdWithoutATokenWhereverItStands) {
  const Tokenizer tokenizer = Tokenizer::load(test::source_folder() / "models/nano-wiki");
  const std::vector<int> ids = tokenizer.encode("naïve façade, 東京", SpecialTokens::kNone);
  for (const int odd : {tokenizer.vocab_size(), std::numeric_limits<int>::max(), -1})
    for (size_t at = 0; at <= ids.size(); ++at) {
      Detokenizer detokenizer(tokenizer);
      std::string text;
      for (size_t i = 0; i <= ids.size(); ++i) {
        if (i == at) text += detokenizer.add(odd);
        if (i < ids.size()) text += detokenizer.add(ids[i]);
      }
      EXPECT_EQ(text + detokenizer.finish(), "naïve façade, 東京") << odd << " at " << at;
    }
}

}  // namespace
}  // namespace emberq::detokenizer_test
