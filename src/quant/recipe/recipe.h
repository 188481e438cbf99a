#pragma once

#include <array>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/json_fwd.h"
#include "format/scheme.h"
#include "model/decoder_layer.h"
#include "quant/rounding/gptq.h"
#include "quant/rounding/rtn.h"

namespace emberq {

// How λ of a channel (quant/transform/channel_scale.h) follows from what its weights w and inputs x
// are.
struct ChannelScale {
  enum class Rule {
    kMean,     // c / mean |w|: all channels' weights alike (FireQ, channel scale Λ)
    kBalance,  // rms(x)^power / rms(w)^(1 - power)
    kSearch,   // that, with the power of 0, 1/4, 1/2, 3/4 and 1 that rounds with the least error
    kMaximum,  // max |x|^power / max |w|^(1 - power) (SmoothQuant, 2211.10438)
  };
  std::optional<double> constant = {};  // kMean's c; none: the mean over channels of mean |w|
  Rule rule = Rule::kMean;
  double power = 0.5;
};

// Each module's weight scheme; none: as it is. A group of these, and of inputs below, is what a
// linear gets where it divides the inputs (format/scheme.h, fitting_group()).
using ModuleSchemes = std::array<std::optional<WeightScheme>, kProjections.size()>;

// What `emberq quantize` does to a model, step by step; a step that is absent is not done. The JSON
// form is in docs/recipes.md.
struct Recipe {
  // N (quant/transform/rope_scale.h)
  struct PreRope {
    enum class Rule {
      kRadius,   // alpha / the largest radius
      kBalance,  // (rms(q) / rms(k))^power: what either has too much of, the other takes
      kMaximum,  // the largest radius^-power (QServe's SmoothAttention, 2405.04532)
    };
    Rule rule = Rule::kRadius;
    double alpha = 8;
    double power = 0.5;
  };
  struct PostRope {
    double beta = 8;
    int top_k = 8;
  };
  // Rotations (quant/transform/rotation.h)
  struct Rotation {
    bool residual = false;  // folded into weights
    bool values = false;    // folded into weights
    bool keys = false;      // when the model runs, with the queries
    int down = 0;           // when the model runs: the largest block; 0: none
  };
  struct Rounding {
    bool gptq = false;
    ScaleRule scale = ScaleRule::kAbsmax;  // of rounding to nearest
    GptqOptions options;
  };
  // Inputs that get a better scheme, the most sensitive module types first.
  struct SensitiveActivations {
    ActivationScheme scheme = {ActivationCode::kInt8, 128};
    double share = 0.25;  // of the blocks' multiply-adds
  };
  // Widths chosen per linear by sensitivity; see quant/analysis/allocation.h.
  struct BitAllocation {
    double target_bits = 4.5;                // on average, scales included
    std::optional<double> max_ppl_increase;  // instead: as few bits as stay under it, 0.01 is 1 %
  };

  std::string name;
  double value_scale = 1;
  std::optional<ChannelScale> qkv, o, gate_up, down;
  std::optional<PreRope> pre_rope;
  std::optional<PostRope> post_rope;
  Rotation rotation;
  bool subtract_kv_mean = false;  // keys' and values' means are taken off before they are stored
  ModuleSchemes weights;
  std::optional<WeightScheme> lm_head;  // one of lm_head_scheme_names(); none: as it is
  std::array<ActivationScheme, kLinearInputs.size()> activations = {};  // by LinearInput
  std::optional<SensitiveActivations> sensitive_activations;
  std::optional<BitAllocation> bit_allocation;
  Rounding rounding;
  KvScheme kv = KvScheme::kFp;
  QueryScheme query = QueryScheme::kNone;
  ProbabilityScheme probability = ProbabilityScheme::kNone;
  int64_t calibration_windows = 10;

  bool quantizes_weights() const;
  bool needs_statistics() const;  // of the original's activations
  bool needs_calibration() const {
    return needs_statistics() || rounding.gptq || sensitive_activations || bit_allocation;
  }
  const std::optional<ChannelScale>& channel_scale(LinearInput site) const;
  // Where λ follows from the inputs' second moments.
  std::vector<LinearInput> sites_with_moments() const;
};

// InputError names `where` and the key.
Recipe parse_recipe(const Json& json, const std::string& where);
OrderedJson to_json(const Recipe& recipe);

// A built-in recipe's name, or a file's.
Recipe find_recipe(const std::string& name_or_file);
// The built-in recipes, each with a line that says what it is.
struct BuiltinRecipe {
  std::string_view name, about, json;
};
std::vector<BuiltinRecipe> builtin_recipes();

// What the output head may be stored as: "none" and the weight schemes that a recipe makes of it.
std::span<const std::string_view> lm_head_scheme_names();

// With its head in the scheme of this name, also "none". InputError names those that there are.
Recipe with_lm_head(const Recipe& recipe, const std::string& scheme);
// With all weights of one integer width, the form that vLLM loads: q, k and v, and gate and up,
// have one scheme. InputError where the recipe does what such a reader cannot, a rotation that
// runs.
Recipe with_integer_weights(Recipe recipe, int bits);
// With its weights of four bits in `scheme`, which has four bits too; wider ones stay. InputError
// where the rest of the recipe does not go with them.
Recipe with_four_bit_weights(Recipe recipe, const WeightScheme& scheme);

}  // namespace emberq
