#include <gtest/gtest.h>

#include <algorithm>
#include <cfloat>
#include <cmath>
#include <numeric>
#include <optional>
#include <random>
#include <string>

#include "ops/sample_memory.h"
#include "support/backends.h"
#include "support/buffers.h"
#include "support/random.h"
#include "support/refusal.h"

namespace emberq::sample_test {
namespace {

struct Request {
  SampleRow row;
  std::vector<int32_t> seen = {}, forbidden = {};
};
struct Result {
  std::vector<int32_t> ids;
  std::vector<float> logits;  // as the operation leaves them
};

const double kAlmostOne = std::nextafter(1.0, 0.0);

class SampleTest : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    backend_ = test::make_backend(GetParam());
    if (!backend_) GTEST_SKIP() << "no CUDA device";
    memory_.emplace(*backend_);
  }

  Result run(const std::vector<float>& logits, const std::vector<Request>& rows) {
    const Buffer x = test::to_backend(*backend_, logits);
    std::vector<SampleRequest> requests;
    for (const Request& r : rows) requests.push_back({r.row, r.seen, r.forbidden});
    const auto count = int64_t(rows.size());
    backend_->run(memory_->set(test::plain(x, count, int64_t(logits.size()) / count), requests));
    const auto ids = memory_->ids();
    return {{ids.begin(), ids.end()}, test::to_host<float>(*backend_, x.as<void>(), logits.size())};
  }
  int32_t id(const std::vector<float>& logits, const Request& request) {
    return run(logits, {request}).ids[0];
  }
  // The ids for these numbers drawn.
  std::vector<int32_t> ids(const std::vector<float>& logits, SampleRow row,
                           const std::vector<double>& draws) {
    std::vector<float> all;
    std::vector<Request> requests;
    row.greedy = false;
    for (const double drawn : draws) {
      all.insert(all.end(), logits.begin(), logits.end());
      row.drawn = drawn;
      requests.push_back({row});
    }
    return run(all, requests).ids;
  }

  std::unique_ptr<Backend> backend_;
  std::optional<SampleMemory> memory_;
};

// The definition, in plain words, on one row.
class Oracle {
 public:
  Oracle(std::vector<float> logits, const Request& request)
      : logits_(std::move(logits)), row_(request.row) {
    const double penalty = row_.repetition_penalty;
    for (const int32_t i : request.seen) {
      float& logit = logits_[size_t(i)];
      logit = float(logit > 0 ? double(logit) / penalty : double(logit) * penalty);
    }
    for (const int32_t i : request.forbidden) logits_[size_t(i)] = -INFINITY;
    for (size_t i = 0; i < logits_.size(); ++i)
      if (logits_[i] > -INFINITY) order_.push_back(int32_t(i));
    std::ranges::stable_sort(order_, std::greater(), [&](int32_t i) { return logit(i); });
    // Those that equal the last of the top_k stay.
    size_t kept = order_.size();
    if (const auto k = size_t(row_.top_k); k > 0 && k < kept)
      for (kept = k; kept < order_.size() && logit(order_[kept]) == logit(order_[k - 1]);) ++kept;
    for (const int32_t i : std::span(order_).first(kept))
      p_.push_back(double(
          std::exp((static_cast<long double>(logit(i)) - logit(order_[0])) / row_.temperature)));
  }

  // The first and the last place that rounding may lead to. Each p is at most 1, and off by at most
  // 2^-44: by 2^-45 where it is a multiple of 2^-44, by 2^-50 for the rounding of exp and of its
  // argument y, since |y| e^y < 1. The sum of n of them, which is at least 1, is off by the share
  // n * 2^-44. A share of it, of which top_p and the number drawn make a target, is off by twice
  // that, and as much again covers sums in double and the target's rounding. A single p is off by
  // the share 2^-52 for exp and |y| * 2^-51 for its argument. A larger top_p, a larger number drawn
  // or a smaller min_p only leads to a later place.
  std::pair<size_t, size_t> places() const {
    const double off = double(logits_.size()) * 0x1p-42,
                 off_p = row_.min_p > 0 ? (1 - std::log(row_.min_p)) * 0x1p-50 : 0,
                 off_top_p = row_.top_p < 1 ? off : 0;
    return {
        place(row_.top_p - off_top_p, std::min(1.0, row_.min_p * (1 + off_p)), row_.drawn - off),
        place(row_.top_p + off_top_p, row_.min_p * (1 - off_p), row_.drawn + off)};
  }
  size_t place_of(int32_t id) const {
    return size_t(std::ranges::find(order_, id) - order_.begin());
  }
  const std::vector<float>& logits() const { return logits_; }

 private:
  float logit(int32_t id) const { return logits_[size_t(id)]; }

  size_t place(double top_p, double min_p, double drawn) const {
    const double total = std::accumulate(p_.begin(), p_.end(), 0.0);
    size_t kept = 1;
    for (double sum = p_[0]; kept < p_.size() && sum < top_p * total;) sum += p_[kept++];
    while (kept > 1 && p_[kept - 1] < min_p) --kept;
    const double left = std::accumulate(p_.begin(), p_.begin() + int64_t(kept), 0.0);
    double sum = 0;
    for (size_t i = 0; i < kept; ++i)
      if ((sum += p_[i]) > drawn * left) return i;
    return kept - 1;
  }

  std::vector<float> logits_;
  SampleRow row_;
  std::vector<int32_t> order_;  // ids that have a probability, the most likely first
  std::vector<double> p_;       // of those that top_k leaves, the first is 1
};

// Rows of all settings together, those of a row in an order by chance.
std::vector<Request> requests_of(int64_t vocab, size_t count, uint64_t seed) {
  std::mt19937_64 random(seed);
  const auto one_of = [&](const auto& values) { return values[random() % std::size(values)]; };
  std::vector<Request> requests(count);
  for (Request& request : requests) {
    SampleRow& row = request.row;
    row.greedy = random() % 8 == 0;
    row.temperature = one_of(std::vector<double>{1e-300, 0.05, 0.7, 1, 1, 3, 1e30});
    row.top_k = one_of(std::vector<int32_t>{0, 0, 1, 2, 50, int32_t(vocab), 1 << 30});
    row.top_p = one_of(std::vector<double>{1, 1, 1e-300, 0.3, 0.9, 0.999, kAlmostOne});
    row.min_p = one_of(std::vector<double>{0, 0, 0, 1e-3, 0.1, 1});
    row.repetition_penalty = one_of(std::vector<double>{1, 1.1, 0.5, 1e30});
    row.drawn = one_of(std::vector<double>{0, kAlmostOne, 0.5, -1, -1, -1, -1});
    if (row.drawn < 0) row.drawn = double(random() >> 11) * 0x1p-53;
    for (int i = 0; i < 40 && vocab > 2; ++i) {
      const auto id = int32_t(random() % uint64_t(vocab));
      if (std::ranges::find(request.seen, id) == request.seen.end()) request.seen.push_back(id);
      // Any but one, so that something is left.
      if (i % 2 == 0) request.forbidden.push_back(id == 0 ? 1 : id);
    }
  }
  return requests;
}

TEST_P(SampleTest, ChoosesByTheDefinitionAndARowAloneAsInABatch) {
  size_t cases = 0, unsure = 0;
  std::vector<int64_t> vocabularies = {1, 2, 31, 1025, 5000};
  if (GetParam() != std::string("cpu"))  // on which a row is not cut into parts
    vocabularies.insert(vocabularies.end(), {128256, 262145});
  for (const int64_t vocab : vocabularies)
    for (const float step : {0.0f, 0.5f}) {  // of logits: 0.5 makes equals
      const size_t rows = vocab > 100000 ? 12 : 150, n = size_t(vocab);
      const std::vector<Request> requests = requests_of(vocab, rows, uint64_t(vocab));
      std::vector<float> logits = test::normal_floats(rows * n, uint64_t(vocab) + 1, 3);
      if (step > 0)
        for (float& x : logits) x = std::round(x / step) * step;
      for (size_t i = 7; i < logits.size(); i += 11)
        if (i % n != 0) logits[i] = -INFINITY;
      const Result result = run(logits, requests);
      for (size_t r = 0; r < rows; ++r) {
        const auto first = logits.begin() + int64_t(r * n);
        const std::vector<float> row(first, first + vocab);
        const Oracle oracle(row, requests[r]);
        const size_t place = oracle.place_of(result.ids[r]);
        const auto [least, most] =
            requests[r].row.greedy ? std::pair<size_t, size_t>() : oracle.places();
        EXPECT_TRUE(least <= place && place <= most) << vocab << " logits, row " << r << ": place "
                                                     << place << " of " << least << " to " << most;
        ++cases;
        unsure += least != most;
        EXPECT_TRUE(std::equal(oracle.logits().begin(), oracle.logits().end(),
                               result.logits.begin() + int64_t(r * n)));
        if (r % 3 == 0) {
          EXPECT_EQ(id(row, requests[r]), result.ids[r]) << vocab << " row " << r;
        }
      }
    }
  EXPECT_LT(unsure, cases / 20);  // the bound says something
}

TEST_P(SampleTest, GreedilyTakesTheFirstOfTheLargestAlsoOfZerosOfEitherSign) {
  EXPECT_EQ(
      run({-1, 2, 2, 0, /**/ -0.0f, 0, -3, 0, /**/ -INFINITY, -5, -INFINITY, -5}, {{}, {}, {}}).ids,
      (std::vector<int32_t>{1, 0, 1}));
}

TEST_P(SampleTest, SaysThatALogitIsNotFiniteAlsoWhereItIsForbidden) {
  for (const bool greedy : {true, false}) {
    const Request any{{.greedy = greedy}}, without_one{{.greedy = greedy}, {}, {1}};
    EXPECT_EQ(run({1, NAN, 0, /**/ 0, 1, 2, /**/ 0, INFINITY, 1, /**/ 0, -NAN, 1},
                  {any, {}, without_one, without_one})
                  .ids,
              (std::vector<int32_t>{kLogitsNotFinite, 2, kLogitsNotFinite, kLogitsNotFinite}));
  }
}

TEST_P(SampleTest, SaysThatNothingIsLeft) {
  for (const bool greedy : {true, false}) {
    const Request any{{.greedy = greedy}}, none{{.greedy = greedy}, {}, {0, 2, 1, 0}},
        too_much{{.repetition_penalty = 1e-30, .greedy = greedy}, {2}, {}};
    EXPECT_EQ(run({-INFINITY, -INFINITY, -INFINITY, /**/ 1, 2, 3, /**/ 1, 2, 1e30f, /**/ 1, 2, 3},
                  {any, none, too_much, {}})
                  .ids,
              (std::vector<int32_t>{kNothingLeft, kNothingLeft, kNothingLeft, 2}));
  }
}

TEST_P(SampleTest, ChangesTheLogitsOfListedIdsAlone) {
  const Result result =
      run({4, -1, 3, 0, -INFINITY, 2, /**/ 4, -1, 3, 0, -INFINITY, 2},
          {{{.repetition_penalty = 3}, {4, 1, 0, 3}, {2, 5, 5, 0}}, {{.repetition_penalty = 3}}});
  EXPECT_EQ(result.logits, (std::vector<float>{-INFINITY, -3, -INFINITY, 0, -INFINITY, -INFINITY, 4,
                                               -1, 3, 0, -INFINITY, 2}));
  EXPECT_EQ(result.ids, (std::vector<int32_t>{3, 0}));
  EXPECT_EQ(run({4, 3, 1}, {{{.repetition_penalty = 3}, {0}, {}}}).logits,
            (std::vector<float>{float(4.0 / 3), 3, 1}));
}

// Equal logits have a p of 1, whose sums are exact.
TEST_P(SampleTest, DrawsEqualsInTheOrderOfTheirIds) {
  const std::vector<float> equals(8, -2.5f);
  for (const double temperature : {5e-324, 1e-300, 1.0, 1e30, DBL_MAX})
    for (int i = 0; i < 8; ++i)
      EXPECT_EQ(
          ids(equals, {.temperature = temperature}, {i / 8.0, std::nextafter((i + 1) / 8.0, 0)}),
          (std::vector<int32_t>{i, i}));
  const std::vector<float> many(128256, 7.25f);
  EXPECT_EQ(ids(many, {}, {0, 0.5 / 128256, 64128.5 / 128256, kAlmostOne}),
            (std::vector<int32_t>{0, 0, 64128, 128255}));
}

TEST_P(SampleTest, CutsEqualsByTopPAndKeepsThoseOfTopKAndMinP) {
  const std::vector<float> equals(8, 3.0f);
  EXPECT_EQ(ids(equals, {.top_p = 0.5}, {0, 0.75, kAlmostOne}), (std::vector<int32_t>{0, 3, 3}));
  EXPECT_EQ(ids(equals, {.top_p = std::nextafter(0.5, 1)}, {kAlmostOne})[0], 4);
  EXPECT_EQ(ids(equals, {.top_p = DBL_MIN}, {kAlmostOne})[0], 0);
  EXPECT_EQ(ids(equals, {.top_k = 1}, {kAlmostOne})[0], 7);
  EXPECT_EQ(ids(equals, {.min_p = 1}, {kAlmostOne})[0], 7);
  EXPECT_EQ(ids(equals, {.top_p = 0.5, .min_p = 1, .top_k = 2}, {0.5, kAlmostOne}),
            (std::vector<int32_t>{2, 3}));
}

TEST_P(SampleTest, CutsWhereOneValueEndsAndTheNextBegins) {
  // At this temperature every p is 1, at the low one only those of the largest.
  const std::vector<float> logits = {5, 1, 5, 1, -INFINITY, 1, 0};
  const SampleRow flat{.temperature = 1e30}, sharp{.temperature = 1e-3};
  const auto with = [](SampleRow row, const auto& change) {
    change(row);
    return row;
  };
  const std::vector<double> draws = {0.01, 0.99, kAlmostOne};
  const auto last = [&](const SampleRow& row) { return ids(logits, row, draws); };
  using Ids = std::vector<int32_t>;
  EXPECT_EQ(last(flat), (Ids{0, 6, 6}));
  EXPECT_EQ(last(sharp), (Ids{0, 2, 2}));
  for (const int top_k : {1, 2})
    EXPECT_EQ(last(with(flat, [&](auto& row) { row.top_k = top_k; })), (Ids{0, 2, 2}));
  for (const int top_k : {3, 4, 5})
    EXPECT_EQ(last(with(flat, [&](auto& row) { row.top_k = top_k; })), (Ids{0, 5, 5}));
  for (const int top_k : {6, 7, 8})  // the last of seven is -infinity
    EXPECT_EQ(last(with(flat, [&](auto& row) { row.top_k = top_k; })), (Ids{0, 6, 6}));
  EXPECT_EQ(last(with(flat, [](auto& row) { row.top_p = 0.5; })), (Ids{0, 1, 1}));
  EXPECT_EQ(last(with(sharp, [](auto& row) { row.top_p = 0.75; })), (Ids{0, 2, 2}));
  EXPECT_EQ(last(with(sharp, [](auto& row) { row.min_p = 1e-6; })), (Ids{0, 2, 2}));
  EXPECT_EQ(ids(logits, flat, {2.5 / 6, 3.5 / 6, 4.5 / 6}), (Ids{1, 3, 5}));
}

TEST_P(SampleTest, TakesLogitsOfAnySize) {
  const std::vector<float> logits = {-FLT_MAX, FLT_MAX, FLT_TRUE_MIN, 0, -FLT_TRUE_MIN, -0.0f};
  using Ids = std::vector<int32_t>;
  EXPECT_EQ(ids(logits, {}, {0, kAlmostOne}), (Ids{1, 1}));
  EXPECT_EQ(ids(logits, {.temperature = 1e300}, {0.01, 0.99, kAlmostOne}), (Ids{1, 0, 0}));
  EXPECT_EQ(ids(logits, {.temperature = 1e300}, {1.5 / 6, 2.5 / 6, 3.5 / 6, 4.5 / 6}),
            (Ids{2, 3, 5, 4}));
  EXPECT_EQ(ids(logits, {.temperature = 1e300, .top_k = 2}, {0.99}), (Ids{2}));
  EXPECT_EQ(ids(logits, {.temperature = 1e300, .top_k = 3}, {0.99}), (Ids{5}));
}

TEST_P(SampleTest, OfOneLogitTakesIt) {
  for (const float logit : {-FLT_MAX, 0.0f, 3.0f})
    EXPECT_EQ(ids({logit}, {.temperature = 1e-300, .top_p = 0.1, .min_p = 1, .top_k = 50},
                  {0, 0.5, kAlmostOne}),
              (std::vector<int32_t>{0, 0, 0}));
}

TEST_P(SampleTest, KeepsWhatEqualsMinPWithinTheRoundingOfExp) {
  const std::vector<float> logits = {0, -1, -2, -3};
  const double p = std::exp(-2.0);
  EXPECT_EQ(ids(logits, {.min_p = p * (1 - 0x1p-49)}, {kAlmostOne})[0], 2);
  EXPECT_EQ(ids(logits, {.min_p = p * (1 + 0x1p-49)}, {kAlmostOne})[0], 1);
}

TEST_P(SampleTest, RefusesRequestsOutOfRange) {
  const std::vector<float> logits = {1, 2};
  const auto error = [&](const Request& request) {
    return error_of([&] { run(logits, {request}); });
  };
  for (const SampleRow& row :
       {SampleRow{.temperature = 0, .greedy = false}, SampleRow{.top_p = 0, .greedy = false},
        SampleRow{.min_p = 2, .greedy = false}, SampleRow{.drawn = 1, .greedy = false},
        SampleRow{.top_k = -1, .greedy = false}, SampleRow{.repetition_penalty = 0}})
    EXPECT_TRUE(contains(error({row}), "sample: "));
  EXPECT_TRUE(contains(error({{}, {2}, {}}), "token id 2 of 2 logits"));
  EXPECT_TRUE(contains(error({{}, {}, {-1}}), "token id -1 of 2 logits"));
  EXPECT_EQ(error({{.temperature = 0, .top_p = 0}}), "");  // greedy: not read
}

INSTANTIATE_TEST_SUITE_P(Backends, SampleTest, testing::Values("cpu", "cuda"),
                         [](const auto& p) { return p.param; });

}  // namespace
}  // namespace emberq::sample_test
