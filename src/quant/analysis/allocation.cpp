#include "quant/analysis/allocation.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/check.h"
#include "base/table.h"

namespace emberq {
namespace {

// Sums of shares and bits come out a few roundings off what they are compared with.
constexpr double kSlack = 1e-9;
bool fits(double x, double limit) { return x <= limit + kSlack * std::abs(limit); }

std::vector<size_t> ranked(std::span<const Sensitivity> sensitivities, RankBy rank_by) {
  const auto badness = [&](size_t i) {
    return rank_by == RankBy::kKl ? sensitivities[i].kl : sensitivities[i].ppl;
  };
  std::vector<size_t> order(sensitivities.size());
  std::iota(order.begin(), order.end(), size_t(0));
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return badness(a) > badness(b); });
  return order;
}

// From an option of a unit to one with more bits.
struct Step {
  size_t unit = 0, from = 0, to = 0;
  double cost = 0, gain = 0;  // bits, KL
  double per_bit() const { return gain / cost; }
};

Step step_between(std::span<const AllocationUnit> units, size_t unit, size_t from, size_t to) {
  const AllocationUnit& u = units[unit];
  const BitOption &a = u.options[from], &b = u.options[to];
  return {unit, from, to, u.numbers * (b.bits - a.bits), a.kl - b.kl};
}

// The lower convex hull of a unit's options from its fewest bits to its least KL, as steps that get
// worse. `first` becomes the option that they start from.
std::vector<Step> hull(std::span<const AllocationUnit> units, size_t unit, size_t& first) {
  const std::vector<BitOption>& options = units[unit].options;
  std::vector<size_t> order(options.size());
  std::iota(order.begin(), order.end(), size_t(0));
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    return std::pair(options[a].bits, options[a].kl) < std::pair(options[b].bits, options[b].kl);
  });
  first = order.front();
  std::vector<Step> steps;
  for (const size_t option : order) {
    size_t from = steps.empty() ? first : steps.back().to;
    if (options[option].kl >= options[from].kl) continue;
    while (!steps.empty() &&
           step_between(units, unit, from, option).per_bit() > steps.back().per_bit()) {
      from = steps.back().from;
      steps.pop_back();
    }
    steps.push_back(step_between(units, unit, from, option));
  }
  return steps;
}

// "the most", "the 2nd most"
std::string superlative(size_t rank) {
  if (rank == 1) return "the most";
  const size_t ten = rank / 10 % 10, one = rank % 10;
  const char* ending = ten == 1 || one == 0 || one > 3 ? "th"
                       : one == 1                      ? "st"
                       : one == 2                      ? "nd"
                                                       : "rd";
  return fmt::format("the {}{} most", rank, ending);
}

// Units at some options each, and the steps that lead on, best first.
class Search {
 public:
  Search(std::span<const AllocationUnit> units, bool average_only)
      : units_(units), option_(units.size()), average_only_(average_only) {
    for (size_t u = 0; u < units.size(); ++u) {
      check(units[u]);
      const std::vector<Step> steps = hull(units, u, option_[u]);
      if (searched(u)) steps_.insert(steps_.end(), steps.begin(), steps.end());
    }
    // Of equal steps those of the first unit, and of one unit those that come first.
    std::stable_sort(steps_.begin(), steps_.end(),
                     [](const Step& a, const Step& b) { return a.per_bit() > b.per_bit(); });
  }

  const std::vector<Step>& steps() const { return steps_; }
  bool searched(size_t unit) const { return units_[unit].in_average || !average_only_; }

  // Whether the unit is where the step begins.
  bool is_next(const Step& step) const { return option_[step.unit] == step.from; }
  bool is_last(const Step& step) const { return option_[step.unit] == step.to; }
  void take(const Step& step) { option_[step.unit] = step.to; }
  void take_back(const Step& step) { option_[step.unit] = step.from; }

  double kl() const {
    return sum([](const AllocationUnit&, const BitOption& option) { return option.kl; });
  }
  double size() const {
    return sum([](const AllocationUnit& unit, const BitOption& option) {
      return unit.numbers * option.bits;
    });
  }
  double average_size() const {
    return sum([](const AllocationUnit& unit, const BitOption& option) {
      return unit.in_average ? unit.numbers * option.bits : 0;
    });
  }
  double average_numbers() const {
    return sum([](const AllocationUnit& unit, const BitOption&) {
      return unit.in_average ? unit.numbers : 0;
    });
  }

  // `not_taken` says why a step is not.
  Allocation result(double bound, std::string_view not_taken) const {
    Allocation allocation{
        .bits = average_size() / average_numbers(), .size = size(), .kl = kl(), .bound = bound};
    for (size_t u = 0; u < units_.size(); ++u)
      allocation.choices.push_back({option_[u], why(u, not_taken)});
    return allocation;
  }

 private:
  static void check(const AllocationUnit& unit) {
    EMBERQ_CHECK(!unit.options.empty() && unit.numbers > 0,
                 "allocation: {} has {} options and {} numbers", unit.name, unit.options.size(),
                 unit.numbers);
    for (const BitOption& option : unit.options)
      EMBERQ_CHECK(std::isfinite(option.kl) && option.bits > 0,
                   "allocation: {} as {} has KL {} and {} bits", unit.name, option.scheme,
                   option.kl, option.bits);
  }

  template <class Value>
  double sum(const Value& value) const {
    double total = 0;
    for (size_t u = 0; u < units_.size(); ++u)
      total += value(units_[u], units_[u].options[option_[u]]);
    return total;
  }

  std::string why(size_t unit, std::string_view not_taken) const {
    const std::vector<BitOption>& options = units_[unit].options;
    const BitOption& now = options[option_[unit]];
    if (options.size() == 1) return "the only option";
    if (!searched(unit)) return "not in the average: the fewest bits";
    const Step *taken = nullptr, *next = nullptr;
    for (const Step& step : steps_)
      if (step.unit == unit && is_last(step))
        taken = &step;
      else if (step.unit == unit && is_next(step))
        next = &step;
    const Step* step = taken ? taken : next;
    if (!step) return fmt::format("KL {:.2g} as {}, no less with more bits", now.kl, now.scheme);
    const BitOption &from = options[step->from], &to = options[step->to];
    return fmt::format("KL {:.2g} as {}, {:.2g} as {}: {} per bit{}{}", from.kl, from.scheme, to.kl,
                       to.scheme, superlative(size_t(step - steps_.data()) + 1), taken ? "" : ", ",
                       taken ? "" : not_taken);
  }

  std::span<const AllocationUnit> units_;
  std::vector<size_t> option_;  // of each unit
  bool average_only_;
  std::vector<Step> steps_;
};

}  // namespace

std::string sensitivity_table(std::span<const Sensitivity> sensitivities, RankBy rank_by) {
  std::vector<std::vector<std::string>> rows = {
      {"unit", "scheme", "KL", "PPL", "share of MACs", "bits"}};
  for (const size_t i : ranked(sensitivities, rank_by)) {
    const Sensitivity& s = sensitivities[i];
    rows.push_back({s.unit.name, scheme_name(s.unit), fmt::format("{:.6f}", s.kl),
                    fmt::format("{:.3f}", s.ppl), fmt::format("{:.1f} %", 100 * s.mac_share),
                    fmt::format("{:.3f}", s.bits)});
  }
  return format_table(rows);
}

std::vector<SensitiveChoice> choose_sensitive(std::span<const Sensitivity> sensitivities,
                                              double share, RankBy rank_by) {
  EMBERQ_REQUIRE(share >= 0 && share <= 1, "a share of the MACs is from 0 to 1, got {}", share);
  std::vector<SensitiveChoice> choices;
  double spent = 0;
  for (const size_t i : ranked(sensitivities, rank_by)) {
    const Sensitivity& s = sensitivities[i];
    EMBERQ_CHECK(s.mac_share > 0, "sensitivity: {} has no share of the MACs", s.unit.name);
    const bool chosen = fits(spent + s.mac_share, share);
    choices.push_back({i, chosen,
                       fmt::format("KL {:.2g}; its {:.1f} % of the MACs {} into the {:.1f} % left",
                                   s.kl, 100 * s.mac_share, chosen ? "fit" : "do not fit",
                                   100 * std::max(0.0, share - spent))});
    if (chosen) spent += s.mac_share;
  }
  return choices;
}

std::vector<AllocationUnit> allocation_units(const ModelConfig& config,
                                             std::span<const Sensitivity> sensitivities,
                                             int64_t cache_tokens, bool average_cache) {
  const auto is_same_part = [](const SensitivityUnit& a, const SensitivityUnit& b) {
    return a.layer == b.layer && a.modules == b.modules;  // no modules: the cache
  };
  double weights = 0;
  for (const Projection module : kProjections)
    weights += double(config.num_layers * outputs(config, module)) * double(inputs(config, module));
  std::vector<const SensitivityUnit*> parts;
  std::vector<AllocationUnit> units;
  for (const Sensitivity& s : sensitivities) {
    const auto part = std::find_if(parts.begin(), parts.end(), [&](const SensitivityUnit* other) {
      return is_same_part(*other, s.unit);
    });
    const auto index = size_t(part - parts.begin());
    if (part == parts.end()) {
      const bool cache = s.unit.attention.has_value();
      parts.push_back(&s.unit);
      units.push_back({.name = s.unit.name,
                       .numbers = cache ? double(2 * config.num_layers * config.num_kv_heads) *
                                              double(config.head_dim * cache_tokens)
                                        : std::round(s.mac_share * weights),
                       .in_average = !cache || average_cache,
                       .options = {}});
    }
    units[index].options.push_back({scheme_name(s.unit), s.bits, s.kl});
  }
  return units;
}

Allocation allocate_within_bits(std::span<const AllocationUnit> units, double bits) {
  Search search(units, true);
  const double numbers = search.average_numbers(), budget = bits * numbers;
  EMBERQ_CHECK(numbers > 0, "allocation: no unit is in the average");
  double spent = search.average_size();
  EMBERQ_REQUIRE(fits(spent, budget), "{} bits are asked for; the fewest there are take {:.4g}",
                 bits, spent / numbers);
  // What could be gained if a part of the first step that does not fit could be taken.
  std::optional<double> bound;
  for (const Step& step : search.steps()) {
    if (!search.is_next(step)) continue;  // a step before it did not fit
    if (fits(spent + step.cost, budget)) {
      search.take(step);
      spent += step.cost;
    } else if (!bound) {
      bound = search.kl() - step.per_bit() * std::max(0.0, budget - spent);
    }
  }
  return search.result(bound.value_or(search.kl()), "which does not fit");
}

namespace {

// The step whose taking back saves the most bits of those after which the limit still holds.
template <class Holds>
const Step* largest_needless(const Search& search, const Holds& holds) {
  const Step* largest = nullptr;
  for (const Step& step : search.steps())
    if (search.is_last(step) && holds(search.kl() + step.gain) &&
        (!largest || step.cost > largest->cost))
      largest = &step;
  return largest;
}

}  // namespace

Allocation allocate_within_perplexity(std::span<const AllocationUnit> units, double increase,
                                      double fixed_kl) {
  EMBERQ_REQUIRE(increase > 0 && std::isfinite(increase),
                 "the increase of perplexity must be above 0, got {}", increase);
  Search search(units, false);
  const double limit = std::log1p(increase);
  const auto holds = [&](double kl) { return fits(fixed_kl + kl, limit); };
  double bound = search.size();
  for (const Step& step : search.steps()) {
    const double excess = fixed_kl + search.kl() - limit;
    if (holds(search.kl())) break;
    bound = search.size() + std::min(step.cost, excess / step.per_bit());
    search.take(step);
  }
  const auto percent = [](double kl) { return 100 * std::expm1(kl); };
  EMBERQ_REQUIRE(holds(search.kl()),
                 "perplexity cannot stay within {:.3g} % above the original's: the best choice is "
                 "predicted at {:.3g} %, of which {:.3g} % are decided before",
                 100 * increase, percent(fixed_kl + search.kl()), percent(fixed_kl));
  while (const Step* step = largest_needless(search, holds)) search.take_back(*step);
  return search.result(bound, "which the limit does not need");
}

std::string allocation_table(std::span<const AllocationUnit> units, const Allocation& allocation) {
  EMBERQ_CHECK(units.size() == allocation.choices.size(), "allocation: {} choices for {} units",
               allocation.choices.size(), units.size());
  std::vector<std::vector<std::string>> rows = {{"unit", "scheme", "bits", "KL", "why"}};
  for (size_t u = 0; u < units.size(); ++u) {
    const BitChoice& choice = allocation.choices[u];
    const BitOption& option = units[u].options[choice.option];
    rows.push_back({units[u].name, option.scheme, fmt::format("{:.3f}", option.bits),
                    fmt::format("{:.6f}", option.kl), choice.why});
  }
  return format_table(rows);
}

}  // namespace emberq
