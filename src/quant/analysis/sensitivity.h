#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "checkpoint/checkpoint.h"
#include "ops/backend.h"
#include "quant/rounding/rtn.h"

// How much each part of a model loses when it is quantized alone.
namespace emberq {

// What part of a model's linears becomes: weights in codes, inputs in codes, or both.
struct PartScheme {
  std::optional<WeightScheme> weight;  // none: as stored
  ActivationScheme input = ActivationScheme::kNone;
  bool operator==(const PartScheme&) const = default;
};

// One part, and what it becomes: some linears of one layer or of all, or the cache of all layers.
struct SensitivityUnit {
  std::string name;
  std::optional<int64_t> layer;     // none: all
  std::vector<Projection> modules;  // none where `attention` is there
  PartScheme linear;
  std::optional<AttentionScheme> attention;  // without means and S, which calibration finds
};

// "int4-g128", "fp8-token inputs", "int6-g128, int8-g128 inputs", "int4-head, fp8-head queries"
std::string scheme_name(const SensitivityUnit& unit);

// Groups of linears that are quantized together: each alone.
std::vector<std::vector<Projection>> single_modules();

// A unit for each of the groups, in all layers ("gate+up_proj"), and for each layer and group
// ("layer 3 gate+up_proj").
std::vector<SensitivityUnit> units_by_module(const std::vector<std::vector<Projection>>& groups,
                                             const PartScheme& scheme);
std::vector<SensitivityUnit> units_by_layer(const ModelConfig& config,
                                            const std::vector<std::vector<Projection>>& groups,
                                            const PartScheme& scheme);
// The cache of all layers, named "KV cache".
SensitivityUnit cache_unit(AttentionScheme attention);

struct Sensitivity {
  SensitivityUnit unit;
  double kl = 0;         // mean of KL(original || model with the unit quantized), nats per token
  double ppl = 0;        // of that model
  double mac_share = 0;  // of the products in the blocks' linears; 0 for a cache
  double bits = 0;       // per weight, or per number of the cache, scales included
};

struct SensitivityOptions {
  int64_t windows = 4, length = 512;  // of the calibration text, consecutive, each run alone
  ScaleRule rule = ScaleRule::kLeastSquares;
};

struct SensitivityResult {
  double ppl = 0;  // of the original
  std::vector<Sensitivity> units;
};

// The products of a unit's linears with one token over those of all blocks' linears.
double mac_share(const ModelConfig& config, const SensitivityUnit& unit);

// Quantizes each unit alone, weights by round_to_nearest, and measures the model against the
// original, whose logits are kept: windows * (length - 1) * vocabulary * 4 bytes. InputError for a
// model that is quantized already, groups that do not divide a linear's inputs, too few tokens, a
// window longer than the model's positions, and logits of more than kMaxLogitBytes.
SensitivityResult measure_sensitivity(const Checkpoint& checkpoint, Backend& backend,
                                      std::span<const int> ids, const SensitivityOptions& options,
                                      const std::vector<SensitivityUnit>& units);
inline constexpr double kMaxLogitBytes = 4e9;

}  // namespace emberq
