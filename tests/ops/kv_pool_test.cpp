#include "ops/kv_pool.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>

#include "ops/backend.h"
#include "ops/batch_memory.h"

namespace emberq::kv_pool_test {
namespace {

class KvPoolTest : public testing::Test {
 protected:
  static std::vector<int32_t> pages(const KvSequence& sequence) {
    return {sequence.pages().begin(), sequence.pages().end()};
  }
  void reserve(KvSequence& sequence, int64_t length) {
    const KvPool::Growth growth[] = {{&sequence, length}};
    pool_.reserve(growth);
  }

  const std::unique_ptr<Backend> backend_ = make_cpu_backend();
  KvPool pool_{*backend_, {KvScheme::kInt4Head, 2, 3, 8}, 4, 5};  // 5 pages of 4 tokens
};

TEST_F(KvPoolTest, GivesAPageForTheFirstTokenAndTheNextOneOnlyPastItsEnd) {
  KvSequence sequence(pool_);
  EXPECT_EQ(sequence.capacity(), 0);
  for (int64_t length = 1; length <= 9; ++length) {
    reserve(sequence, length);
    EXPECT_EQ(int64_t(sequence.pages().size()), (length + 3) / 4) << length;
  }
  EXPECT_EQ(pool_.free_pages(), 2);
  EXPECT_EQ(sequence.length(), 0);  // nothing is stored yet
}

TEST_F(KvPoolTest, GivesNoPageToTwoSequences) {
  KvSequence a(pool_), b(pool_);
  for (int64_t length = 4; length <= 8; length += 4) reserve(a, length), reserve(b, length);
  std::vector<int32_t> all = pages(a);
  for (const int32_t page : pages(b)) all.push_back(page);
  std::sort(all.begin(), all.end());
  EXPECT_EQ(std::unique(all.begin(), all.end()), all.end());
  for (const int32_t page : all) EXPECT_TRUE(page >= 0 && page < 5) << page;
}

TEST_F(KvPoolTest, TakesThePagesOfASequenceThatEndsBack) {
  KvSequence a(pool_);
  reserve(a, 12);
  {
    KvSequence b(pool_);
    reserve(b, 8);
    EXPECT_EQ(pool_.free_pages(), 0);
  }
  EXPECT_EQ(pool_.free_pages(), 2);
  reserve(a, 20);
  EXPECT_EQ(pool_.free_pages(), 0);
}

TEST_F(KvPoolTest, KeepsThePagesOfAMovedSequenceOnce) {
  KvSequence a(pool_);
  reserve(a, 5);
  a.extend(5);
  const std::vector<int32_t> before = pages(a);
  {
    const KvSequence b(std::move(a));
    EXPECT_EQ(pages(b), before);
    EXPECT_EQ(b.length(), 5);
    EXPECT_EQ(pool_.free_pages(), 3);
  }
  EXPECT_EQ(pool_.free_pages(), 5);
}

TEST_F(KvPoolTest, SaysThatItIsFullWithNothingChanged) {
  KvSequence a(pool_), b(pool_);
  reserve(a, 9);
  const std::vector<int32_t> before = pages(a);
  const KvPool::Growth both[] = {{&a, 16}, {&b, 8}};  // one page and two, where two are free
  try {
    pool_.reserve(both);
    FAIL() << "gave pages that it does not have";
  } catch (const KvPoolFull& full) {
    EXPECT_EQ(full.needed(), 3);
    EXPECT_EQ(full.free(), 2);
    EXPECT_STREQ(full.what(),
                 "the KV cache is full: 3 more pages of 4 tokens are needed, 2 of 5 are free");
  }
  EXPECT_EQ(pages(a), before);
  EXPECT_TRUE(b.pages().empty());
  EXPECT_EQ(pool_.free_pages(), 2);
  reserve(a, 16);  // either of them alone still fits
}

TEST_F(KvPoolTest, CutsASequenceToItsFirstTokensAndTakesOnlyWholePagesBack) {
  KvSequence a(pool_);
  reserve(a, 12);
  a.extend(12);
  const std::vector<int32_t> before = pages(a);
  a.truncate(9);
  EXPECT_EQ(pages(a), before);
  a.truncate(8);
  EXPECT_EQ(pages(a), std::vector(before.begin(), before.begin() + 2));
  EXPECT_EQ(pool_.free_pages(), 3);
  EXPECT_THROW(a.truncate(9), Error);
}

TEST_F(KvPoolTest, RefusesTokensThatHaveNoPage) {
  KvSequence a(pool_);
  reserve(a, 3);
  a.extend(4);
  EXPECT_THROW(a.extend(1), Error);
  KvPool other(*backend_, pool_.shape(), 4, 5);
  const KvPool::Growth growth[] = {{&a, 8}};
  EXPECT_THROW(other.reserve(growth), Error);
}

TEST_F(KvPoolTest, ListsABatchSequenceBySequence) {
  KvSequence a(pool_), b(pool_);
  reserve(a, 6), a.extend(5);
  reserve(b, 3);
  BatchMemory memory(*backend_);
  const BatchEntry entries[] = {{1, &a}, {3, &b}};
  const Batch& batch = memory.set(entries);
  const auto numbers = [](const int32_t* from, size_t count) {
    return std::vector<int32_t>(from, from + count);
  };
  EXPECT_EQ(batch.tokens, 4);
  EXPECT_EQ(batch.max_pages, 2);
  EXPECT_EQ(numbers(batch.positions, 4), (std::vector<int32_t>{5, 0, 1, 2}));
  EXPECT_EQ(numbers(batch.q_begin, 3), (std::vector<int32_t>{0, 1, 4}));
  EXPECT_EQ(numbers(batch.kv_length, 2), (std::vector<int32_t>{6, 3}));
  EXPECT_EQ(numbers(batch.pages, 2), pages(a));
  EXPECT_EQ(batch.pages[2], b.pages()[0]);
  check(batch, pool_.layer(0), "test");
}

struct BadBatch {
  const char* message;
  int64_t tokens, max_pages, new_tokens, kv_length;
};

TEST(Batch, IsRefusedWhereItsNumbersDoNotFit) {
  const KvLayer cache{.kv_heads = 1, .head_dim = 8, .page_tokens = 4, .pages = 3};
  for (const BadBatch& bad : {BadBatch{"a sequence of 4 tokens, 0 of them new", 0, 1, 0, 4},
                              BadBatch{"a sequence of 2 tokens, 3 of them new", 3, 1, 3, 2},
                              BadBatch{"needs 3 pages of 4; the batch lists 2", 1, 2, 1, 9},
                              BadBatch{"the cache has 3", 1, 4, 1, 13},
                              BadBatch{"2 rows for 1 new tokens", 2, 1, 1, 1}}) {
    const BatchSequence sequence[] = {{bad.new_tokens, bad.kv_length}};
    try {
      check(Batch{.tokens = bad.tokens, .max_pages = bad.max_pages, .on_host = sequence}, cache,
            "test");
      ADD_FAILURE() << "accepted: " << bad.message;
    } catch (const Error& e) {
      EXPECT_NE(std::string(e.what()).find(bad.message), std::string::npos) << e.what();
    }
  }
}

}  // namespace
}  // namespace emberq::kv_pool_test
