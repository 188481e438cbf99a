// The choices by hand, and against every choice there is.
#include "quant/analysis/allocation.h"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>
#include <random>

#include "support/refusal.h"

namespace emberq::allocation_test {
namespace {

Sensitivity measured(const std::string& name, double kl, double mac_share) {
  return {.unit = {.name = name, .modules = {Projection::kO}, .linear = {WeightScheme{}}},
          .kl = kl,
          .ppl = 10,
          .mac_share = mac_share,
          .bits = 4.125};
}

std::vector<std::string> chosen(const std::vector<Sensitivity>& sensitivities, double share) {
  std::vector<std::string> names;
  for (const SensitiveChoice& choice : choose_sensitive(sensitivities, share))
    if (choice.chosen) names.push_back(sensitivities[choice.unit].unit.name);
  return names;
}

using Names = std::vector<std::string>;

TEST(ChooseSensitive, TakesTheWorstFirstUntilTheShareIsSpentExactly) {
  const std::vector<Sensitivity> s = {measured("a", 0.1, 0.1), measured("b", 0.3, 0.2),
                                      measured("c", 0.2, 0.1)};
  EXPECT_EQ(chosen(s, 0.3), (Names{"b", "c"})) << "0.2 + 0.1 is a rounding above 0.3";
  EXPECT_EQ(chosen(s, 0.29), (Names{"b"}));
  EXPECT_EQ(chosen(s, 1), (Names{"b", "c", "a"}));
}

TEST(ChooseSensitive, OfNothingToSpendTakesNothing) {
  EXPECT_EQ(chosen({measured("a", 0.1, 0.1)}, 0), Names{});
}

TEST(ChooseSensitive, OfEqualOnesTakesThoseThatComeFirst) {
  const std::vector<Sensitivity> s = {measured("a", 0.1, 0.3), measured("b", 0.1, 0.3),
                                      measured("c", 0.1, 0.3)};
  EXPECT_EQ(chosen(s, 0.6), (Names{"a", "b"}));
}

TEST(ChooseSensitive, PassesOverOneThatDoesNotFitAndSaysSo) {
  const std::vector<Sensitivity> s = {measured("small", 0.1, 0.2), measured("large", 0.3, 0.5),
                                      measured("worst", 0.4, 0.1)};
  EXPECT_EQ(chosen(s, 0.4), (Names{"worst", "small"}));
  const auto choices = choose_sensitive(s, 0.4);
  EXPECT_EQ(choices[0].why, "KL 0.4; its 10.0 % of the MACs fit into the 40.0 % left");
  EXPECT_EQ(choices[1].why, "KL 0.3; its 50.0 % of the MACs do not fit into the 30.0 % left");
}

TEST(ChooseSensitive, RanksByPerplexityWhereAsked) {
  std::vector<Sensitivity> s = {measured("a", 0.2, 0.3), measured("b", 0.1, 0.3)};
  s[1].ppl = 11;
  EXPECT_EQ(choose_sensitive(s, 0.3)[0].unit, 0u);
  EXPECT_EQ(choose_sensitive(s, 0.3, RankBy::kPerplexity)[0].unit, 1u);
}

TEST(ChooseSensitive, RefusesAShareThatIsNone) {
  const std::vector<Sensitivity> s = {measured("a", 0.1, 0.2)};
  EXPECT_REFUSED(choose_sensitive(s, 1.5), "a share of the MACs is from 0 to 1, got 1.5");
  EXPECT_REFUSED(choose_sensitive(s, std::nan("")), "got nan");
}

TEST(SensitivityTable, ListsTheLargestKlFirst) {
  EXPECT_EQ(sensitivity_table(
                std::vector<Sensitivity>{measured("a", 0.125, 0.05), measured("b", 0.5, 0.25)}),
            "| unit | scheme    |       KL |    PPL | share of MACs |  bits |\n"
            "|------|-----------|---------:|-------:|--------------:|------:|\n"
            "| b    | int4-g128 | 0.500000 | 10.000 |        25.0 % | 4.125 |\n"
            "| a    | int4-g128 | 0.125000 | 10.000 |         5.0 % | 4.125 |\n");
}

// A unit in 4, 6 and 8 bits.
AllocationUnit unit(const std::string& name, double numbers, std::vector<double> kl) {
  AllocationUnit result{.name = name, .numbers = numbers, .options = {}};
  for (size_t i = 0; i < kl.size(); ++i)
    result.options.push_back({"W" + std::to_string(4 + 2 * i), double(4 + 2 * i), kl[i]});
  return result;
}

std::vector<size_t> options_of(const Allocation& allocation) {
  std::vector<size_t> options;
  for (const BitChoice& choice : allocation.choices) options.push_back(choice.option);
  return options;
}
using Options = std::vector<size_t>;

TEST(AllocateWithinBits, GivesBitsToWhatGainsMostForEach) {
  // Per bit: a 0.004, then 0.0001; b 0.006, then 0.001.
  const std::vector<AllocationUnit> units = {unit("a", 10, {0.1, 0.02, 0.018}),
                                             unit("b", 5, {0.08, 0.02, 0.01})};
  EXPECT_EQ(options_of(allocate_within_bits(units, 4)), (Options{0, 0}));
  EXPECT_EQ(options_of(allocate_within_bits(units, 70 / 15.0)), (Options{0, 1}));
  EXPECT_EQ(options_of(allocate_within_bits(units, 6)), (Options{1, 1}));
  EXPECT_EQ(options_of(allocate_within_bits(units, 100 / 15.0)), (Options{1, 2}));
  const Allocation all = allocate_within_bits(units, 100);
  EXPECT_EQ(options_of(all), (Options{2, 2}));
  EXPECT_EQ(all.bits, 8);
  EXPECT_EQ(all.size, 120);
  EXPECT_DOUBLE_EQ(all.kl, 0.028);
  EXPECT_EQ(all.bound, all.kl);
}

TEST(AllocateWithinBits, SpendsABudgetThatIsMetExactlyAndBoundsWhatIsNot) {
  const std::vector<AllocationUnit> units = {unit("a", 3, {0.3, 0.1}), unit("b", 3, {0.2, 0.1})};
  const Allocation met = allocate_within_bits(units, 5);
  EXPECT_EQ(options_of(met), (Options{1, 0}));
  EXPECT_EQ(met.bits, 5);
  EXPECT_DOUBLE_EQ(met.bound, met.kl);
  const Allocation below = allocate_within_bits(units, 4.5);
  EXPECT_EQ(options_of(below), (Options{0, 0}));
  EXPECT_DOUBLE_EQ(below.bound, 0.5 - 0.2 / 2) << "half of the first step";
}

TEST(AllocateWithinBits, SaysWhyInASentence) {
  const std::vector<AllocationUnit> units = {
      unit("a", 10, {0.1, 0.02, 0.018}), unit("b", 5, {0.08, 0.02, 0.01}), unit("c", 1, {0.001}),
      unit("d", 1, {0.001, 0.001, 0.002}), unit("e", 5, {1e-5, 1e-6})};
  const Allocation allocation = allocate_within_bits(units, 5.4);
  EXPECT_EQ(allocation.choices[0].why, "KL 0.1 as W4, 0.02 as W6: the 2nd most per bit");
  EXPECT_EQ(allocation.choices[1].why, "KL 0.08 as W4, 0.02 as W6: the most per bit");
  EXPECT_EQ(allocation.choices[2].why, "the only option");
  EXPECT_EQ(allocation.choices[3].why, "KL 0.001 as W4, no less with more bits");
  EXPECT_EQ(allocation.choices[4].why,
            "KL 1e-05 as W4, 1e-06 as W6: the 5th most per bit, which does not fit");
}

TEST(AllocateWithinBits, PassesOverAStepThatDoesNotFitWithThoseAfterIt) {
  const std::vector<AllocationUnit> units = {unit("large", 10, {1, 0.1, 0.05}),
                                             unit("small", 1, {0.01, 0.005, 0.004})};
  EXPECT_EQ(options_of(allocate_within_bits(units, 4.5)), (Options{0, 2}));
}

TEST(AllocateWithinBits, OfEqualStepsTakesThatOfTheFirstUnit) {
  const std::vector<AllocationUnit> units(3, unit("a", 2, {0.3, 0.1, 0.05}));
  EXPECT_EQ(options_of(allocate_within_bits(units, 4 + 4 / 3.0)), (Options{1, 1, 0}));
}

TEST(AllocateWithinBits, GoesPastAnOptionThatIsNotOnTheHull) {
  // 6 bits gain 0.01, 8 bits 0.2: half of the way to 8 would gain 0.1.
  const std::vector<AllocationUnit> units = {unit("a", 1, {0.3, 0.29, 0.1}),
                                             unit("b", 1, {0.3, 0.25, 0.24})};
  EXPECT_EQ(options_of(allocate_within_bits(units, 6)), (Options{2, 0}));
}

TEST(AllocateWithinBits, LeavesACacheThatIsNotInTheAverageAlone) {
  AllocationUnit cache = unit("KV cache", 100, {1, 0.01});
  cache.in_average = false;
  const std::vector<AllocationUnit> units = {unit("a", 1, {0.3, 0.2}), cache};
  const Allocation allocation = allocate_within_bits(units, 8);
  EXPECT_EQ(options_of(allocation), (Options{1, 0}));
  EXPECT_EQ(allocation.bits, 6);
  EXPECT_EQ(allocation.size, 6 + 400);
  EXPECT_EQ(allocation.choices[1].why, "not in the average: the fewest bits");
}

TEST(AllocateWithinBits, RefusesLessThanTheFewestBits) {
  const std::vector<AllocationUnit> units = {unit("a", 1, {0.3, 0.2})};
  EXPECT_REFUSED(allocate_within_bits(units, 3.5), "3.5 bits", "the fewest there are take 4");
}

TEST(AllocateWithinPerplexity, TakesTheFewestBitsWhosePredictedPerplexityIsWithinTheLimit) {
  const std::vector<AllocationUnit> units = {unit("a", 10, {0.1, 0.02, 0.018}),
                                             unit("b", 5, {0.08, 0.02, 0.01})};
  const auto increase = [](double kl) { return std::expm1(kl); };
  EXPECT_EQ(options_of(allocate_within_perplexity(units, increase(0.18))), (Options{0, 0}));
  EXPECT_EQ(options_of(allocate_within_perplexity(units, increase(0.12))), (Options{0, 1}));
  EXPECT_EQ(options_of(allocate_within_perplexity(units, increase(0.04))), (Options{1, 1}));
  EXPECT_EQ(options_of(allocate_within_perplexity(units, increase(0.14), 0.1)), (Options{1, 1}));
  EXPECT_EQ(options_of(allocate_within_perplexity(units, increase(0.028))), (Options{2, 2}));
}

TEST(AllocateWithinPerplexity, TakesBackStepsThatTheLastOneMadeNeedless) {
  // b's step gains more per bit, but a's alone is enough.
  const std::vector<AllocationUnit> units = {unit("a", 10, {0.5, 0.01}), unit("b", 1, {0.1, 0.02})};
  const Allocation allocation = allocate_within_perplexity(units, std::expm1(0.12));
  EXPECT_EQ(options_of(allocation), (Options{1, 0}));
  EXPECT_EQ(allocation.choices[1].why,
            "KL 0.1 as W4, 0.02 as W6: the most per bit, which the limit does not need");
}

TEST(AllocateWithinPerplexity, ChoosesTheCacheTooByTheBitsItTakes) {
  AllocationUnit cache = unit("KV cache", 1, {0.1, 0.01});
  cache.in_average = false;
  const std::vector<AllocationUnit> units = {unit("a", 10, {0.1, 0.01}), cache};
  const Allocation allocation = allocate_within_perplexity(units, std::expm1(0.12));
  EXPECT_EQ(options_of(allocation), (Options{0, 1}));
  EXPECT_EQ(allocation.bits, 4) << "of the weights";
}

TEST(AllocateWithinPerplexity, RefusesALimitThatNoChoiceKeeps) {
  const std::vector<AllocationUnit> units = {unit("a", 10, {0.5, 0.01})};
  EXPECT_REFUSED(allocate_within_perplexity(units, 0.015, std::log1p(0.02)), "within 1.5 %",
                 "predicted at 3.03 %", "2 % are decided before");
  EXPECT_REFUSED(allocate_within_perplexity(units, 0), "must be above 0, got 0");
}

// Calls `visit` with kl and size of every choice of options.
void every_choice(std::span<const AllocationUnit> units, double kl, double size,
                  const std::function<void(double kl, double size)>& visit) {
  if (units.empty()) return visit(kl, size);
  for (const BitOption& option : units[0].options)
    every_choice(units.subspan(1), kl + option.kl, size + units[0].numbers * option.bits, visit);
}

// Six units of 1 ... 8 numbers; KL falls with the bits, or nearly so.
std::vector<AllocationUnit> random_units(uint64_t seed) {
  std::mt19937_64 random(seed);
  const auto uniform = [&] { return double(random() >> 11) * 0x1p-53; };
  std::vector<AllocationUnit> units;
  for (int u = 0; u < 6; ++u) {
    const double kl = uniform();
    units.push_back(
        unit("u", 1 + double(random() % 8), {kl, kl * uniform(), kl * uniform() * uniform()}));
  }
  return units;
}

TEST(Allocation, LiesBetweenItsBoundAndTheLargestStepFromTheBestOfAllChoices) {
  for (uint64_t seed = 0; seed < 50; ++seed) {
    const std::vector<AllocationUnit> units = random_units(seed);
    double numbers = 0, largest_gain = 0, largest_cost = 0;
    for (const AllocationUnit& u : units) {
      numbers += u.numbers;
      largest_gain = std::max(largest_gain, u.options[0].kl);
      largest_cost = std::max(largest_cost, 4 * u.numbers);
    }
    for (const double bits : {4.0, 4.5, 5.0, 6.1, 7.9}) {
      const Allocation greedy = allocate_within_bits(units, bits);
      double best = std::numeric_limits<double>::infinity();
      every_choice(units, 0, 0, [&](double kl, double size) {
        if (size <= bits * numbers * (1 + 1e-12)) best = std::min(best, kl);
      });
      EXPECT_LE(greedy.size, bits * numbers * (1 + 1e-9));
      EXPECT_LE(greedy.bound, best + 1e-12) << seed;
      EXPECT_GE(greedy.kl, best - 1e-12) << seed;
      EXPECT_LE(greedy.kl, greedy.bound + largest_gain) << seed;
    }
    for (const double increase : {0.3, 1.0, 3.0}) {
      double best = std::numeric_limits<double>::infinity();
      every_choice(units, 0, 0, [&](double kl, double size) {
        if (kl <= std::log1p(increase)) best = std::min(best, size);
      });
      if (std::isinf(best)) {
        EXPECT_THROW(allocate_within_perplexity(units, increase), InputError);
        continue;
      }
      const Allocation greedy = allocate_within_perplexity(units, increase);
      EXPECT_LE(greedy.kl, std::log1p(increase) * (1 + 1e-9));
      EXPECT_LE(greedy.bound, best + 1e-9) << seed;
      EXPECT_GE(greedy.size, best - 1e-9) << seed;
      EXPECT_LE(greedy.size, greedy.bound + largest_cost) << seed;
    }
  }
}

TEST(AllocationUnits, GatherTheSchemesOfAPartAndCountItsWeights) {
  ModelConfig config;
  config.num_layers = 2, config.hidden_size = 128, config.intermediate_size = 256;
  config.num_heads = 4, config.num_kv_heads = 2, config.head_dim = 32;
  std::vector<Sensitivity> measured;
  for (const int bits : {4, 6})
    for (const SensitivityUnit& unit :
         units_by_layer(config, single_modules(), {WeightScheme{.bits = bits}}))
      measured.push_back({.unit = unit,
                          .kl = 1.0 / bits,
                          .mac_share = mac_share(config, unit),
                          .bits = bits + 0.125});
  for (const KvScheme kv : {KvScheme::kLut4Head, KvScheme::kInt8Head})
    measured.push_back(
        {.unit = cache_unit({.kv = kv}), .bits = kv == KvScheme::kInt8Head ? 8.5 : 4.5});

  const auto units = allocation_units(config, measured, 10);
  ASSERT_EQ(units.size(), 15u);
  EXPECT_EQ(units[1].name, "layer 0 k_proj");
  EXPECT_EQ(units[1].numbers, 64 * 128);
  EXPECT_EQ(units[13].numbers, 128 * 256);
  ASSERT_EQ(units[13].options.size(), 2u);
  EXPECT_EQ(units[13].options[1].scheme, "int6-g128");
  EXPECT_EQ(units[13].options[1].bits, 6.125);
  EXPECT_EQ(units[13].options[1].kl, 1.0 / 6);
  EXPECT_EQ(units[14].numbers, 2 * 2 * 2 * 32 * 10);
  EXPECT_EQ(units[14].options[0].scheme, "lut4-head");
  EXPECT_FALSE(units[14].in_average);
  EXPECT_TRUE(allocation_units(config, measured, 10, true)[14].in_average);
}

TEST(AllocationTable, ShowsWhatWasChosenAndWhy) {
  const std::vector<AllocationUnit> units = {unit("a", 1, {0.25, 0.125})};
  EXPECT_EQ(allocation_table(units, allocate_within_bits(units, 6)),
            "| unit | scheme |  bits |       KL | why                                         |\n"
            "|------|--------|------:|---------:|---------------------------------------------|\n"
            "| a    | W6     | 6.000 | 0.125000 | KL 0.25 as W4, 0.12 as W6: the most per bit |\n");
}

}  // namespace
}  // namespace emberq::allocation_test
