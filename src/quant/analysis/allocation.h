#pragma once

#include <span>
#include <string>
#include <vector>

#include "quant/analysis/sensitivity.h"

// What to do about a sensitivity analysis: which part of a model gets more bits. Nothing here looks
// at a model.
namespace emberq {

// What makes a unit worse than another. KL sums up every position's whole distribution, perplexity
// only the token that follows, with more noise.
enum class RankBy { kKl, kPerplexity };

// Columns unit, scheme, KL, PPL, share of MACs and bits; the worst first, of equal ones in the
// given order.
std::string sensitivity_table(std::span<const Sensitivity> sensitivities,
                              RankBy rank_by = RankBy::kKl);

// A choice for people to read.
struct PlanChoice {
  std::string what, chosen, why;  // "layer 3 v_proj", "fp6e2m3-g128", "KL 0.0031 as ..."
};

struct SensitiveChoice {
  size_t unit = 0;  // index into the sensitivities
  bool chosen = false;
  std::string why;  // "KL 0.31; its 25.0 % of the MACs fit into the 25.0 % left"
};
// The units in the order of sensitivity_table(), each chosen where its share of the MACs fits into
// what the ones before have left of `share`; one that does not fit is passed over. Units must not
// overlap. InputError for a share outside [0, 1].
std::vector<SensitiveChoice> choose_sensitive(std::span<const Sensitivity> sensitivities,
                                              double share, RankBy rank_by = RankBy::kKl);

// One way to store a part of a model, and what it costs.
struct BitOption {
  std::string scheme;
  double bits = 0;  // per number, scales included
  double kl = 0;    // of the model with this part alone stored so
};
struct AllocationUnit {
  std::string name;
  double numbers = 0;              // weights, or numbers in the cache
  bool in_average = true;          // of bits per weight; false for a cache
  std::vector<BitOption> options;  // at least one
};
// Sensitivities of the same linears (or caches) in different schemes are the options of one unit,
// in the order in which they come first. A cache holds the keys and values of `cache_tokens` > 0
// tokens and is in the average only where `average_cache` says so. Units must not overlap.
std::vector<AllocationUnit> allocation_units(const ModelConfig& config,
                                             std::span<const Sensitivity> sensitivities,
                                             int64_t cache_tokens, bool average_cache = false);

struct BitChoice {
  size_t option = 0;  // index into the unit's options
  std::string why;    // "KL 0.0031 as int4-g128, 0.0002 as int6-g128: the 2nd most per bit"
};
struct Allocation {
  std::vector<BitChoice> choices;  // one for each unit
  double bits = 0;                 // per number, over the units in the average
  double size = 0;                 // bits of all units
  double kl = 0;                   // sum over all units
  // What no choice of options can go below: in kl for a limit of bits, in size for one of
  // perplexity. The gap to it is the most that taking step after step can have lost.
  double bound = 0;
};

// Both add the KL of parts that were measured alone, which is right where their errors are small
// and have nothing to do with each other: KL is of second order in what the logits move by. Both
// start from every unit's fewest bits and take steps, the one that takes most KL off per bit first.
// A unit's steps run along the lower convex hull of its options, so that they get worse; an option
// that is not on it is never chosen. The steps up to any point are then the best choice for the
// bits they spend; only the last bits, too few for the next step, may be spent better.

// The least KL for at most `bits` per number in the average; a step that does not fit is passed
// over with those of its unit that would follow. A unit outside the average stays at its fewest
// bits. InputError where the fewest bits are more.
Allocation allocate_within_bits(std::span<const AllocationUnit> units, double bits);

// The fewest bits, of all units together, with a predicted log perplexity at most log(1 + increase)
// above the original's: fixed_kl, of what is decided already, and the units' sum. Steps that turn
// out needless are taken back, the largest first. InputError, with the best there is, where no
// choice does.
Allocation allocate_within_perplexity(std::span<const AllocationUnit> units, double increase,
                                      double fixed_kl = 0);

// Columns unit, scheme, bits, KL and why.
std::string allocation_table(std::span<const AllocationUnit> units, const Allocation& allocation);

}  // namespace emberq
