// Ragged batches over a paged cache: each sequence gets what it gets alone.
#include "ops/batch.h"

#include <gtest/gtest.h>

#include <optional>
#include <string>

#include "support/attention_case.h"
#include "support/kv_schemes.h"

namespace emberq::test::batch_test {
namespace {

constexpr int64_t kPage = 4;

// A sequence in a shared pool, and a twin that is alone in a pool of its own with one page.
struct Twins {
  Twins(Backend& backend, KvPool& pool, int64_t tokens, uint64_t seed)
      : in(make_inputs(tokens, seed)),
        alone(backend, pool.shape(), tokens, 1),
        alone_sequence(alone),
        sequence(std::in_place, pool) {}

  Inputs in;
  KvPool alone;
  KvSequence alone_sequence;
  std::optional<KvSequence> sequence;
};

class BatchTest : public testing::TestWithParam<Form> {
 protected:
  void SetUp() override {
    backend_ = make_backend(GetParam().backend);
    if (!backend_) GTEST_SKIP() << "no CUDA device";
    pool_ = scattered_pool(*backend_, {GetParam().kv, 1, kKvHeads, kHeadDim}, kPage, 24);
  }

  // One batch of these sequences' next tokens; each must be what its twin gets.
  void step(const std::vector<std::pair<Twins*, int64_t>>& counts) {
    std::vector<Part> parts;
    for (const auto& [twins, count] : counts)
      parts.push_back({&twins->in, &*twins->sequence, count});
    const Attended all = run_step(*backend_, *pool_, GetParam(), parts);
    auto row = all.out.begin();
    for (const auto& [twins, count] : counts) {
      const Attended one = run_step(*backend_, twins->alone, GetParam(),
                                    {{&twins->in, &twins->alone_sequence, count}});
      const std::vector<float> mine(row, row + std::ptrdiff_t(one.out.size()));
      row += std::ptrdiff_t(one.out.size());
      EXPECT_EQ(mine, one.out) << "of " << count << " tokens up to "
                               << twins->alone_sequence.length();
      if (twins == counts.front().first) {
        EXPECT_EQ(all.key, one.key);
        EXPECT_EQ(all.value, one.value);
      }
    }
  }
  Twins make(int64_t tokens, uint64_t seed) { return Twins(*backend_, *pool_, tokens, seed); }

  std::unique_ptr<Backend> backend_;
  std::unique_ptr<KvPool> pool_;
};

// A backend defines a sequence's result by its own tokens, so equality is to the bit.
TEST_P(BatchTest, GivesEachSequenceWhatItGetsAlone) {
  Twins prompt = make(40, 1), single = make(5, 2), edge = make(12, 3);
  step({{&prompt, 17}, {&single, 1}, {&edge, kPage}});  // a length of 1, a whole page
  step({{&single, 1}, {&prompt, 15}, {&edge, 1}});      // a chunk, the next page's first
  step({{&edge, kPage - 1}, {&single, 2}});             // to the next edge; one rests
  step({{&edge, 1}, {&prompt, 1}, {&single, 1}});       // single tokens of all
  EXPECT_EQ(pool_->free_pages(), 24 - 9 - 2 - 3);
}

TEST_P(BatchTest, ReusesThePagesOfASequenceThatEndsWithoutItsNumbers) {
  Twins stays = make(30, 4), ends = make(60, 5), starts = make(61, 6);
  step({{&stays, 11}, {&ends, 58}});
  ends.sequence.reset();
  const int64_t free = pool_->free_pages();
  step({{&starts, 57}, {&stays, 3}});
  EXPECT_EQ(pool_->free_pages(), free - 15 - 1);
  step({{&stays, 1}, {&starts, 1}});
}

TEST_P(BatchTest, IsRefusedWholeByAFullPool) {
  Twins first = make(90, 7), second = make(40, 8);
  step({{&first, 80}});
  const std::vector<Part> parts = {{&first.in, &*first.sequence, 8},
                                   {&second.in, &*second.sequence, 9}};
  EXPECT_THROW(run_step(*backend_, *pool_, GetParam(), parts), KvPoolFull);
  EXPECT_EQ(first.sequence->length(), 80);
  EXPECT_EQ(second.sequence->pages().size(), 0u);
  step({{&first, 8}, {&second, 8}});  // what fits goes on as if nothing had been
}

std::string name_of(const testing::TestParamInfo<Form>& info) {
  std::string text = info.param.backend + "_" + std::string(name(info.param.kv));
  if (info.param.query != QueryScheme::kNone) text += "_q_" + std::string(name(info.param.query));
  text += "_window" + std::to_string(info.param.window);
  std::replace(text.begin(), text.end(), '-', '_');
  return text;
}

std::vector<Form> forms() {
  std::vector<Form> all;
  for (const KvScheme kv : kv_schemes())
    for (const QueryScheme query : {QueryScheme::kNone, QueryScheme::kFp8Head})
      for (const int64_t window : {0, 6})
        all.push_back({.kv = kv,
                       .query = query,
                       .window = window,
                       .probability = query == QueryScheme::kNone ? ProbabilityScheme::kNone
                                                                  : ProbabilityScheme::kFp8,
                       .means = true,
                       .hadamard = true});
  return all;
}
INSTANTIATE_TEST_SUITE_P(Caches, BatchTest,
                         testing::ValuesIn(on_backends({"cpu", "cuda-batch-invariant"}, forms())),
                         name_of);

}  // namespace
}  // namespace emberq::test::batch_test
