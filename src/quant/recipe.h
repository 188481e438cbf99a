#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/json.h"
#include "format/scheme.h"

namespace emberq {

// How a channel scale's constant c is chosen (Λ, fireq.md 2): λ_j = c / mean_i |W_ij|.
struct ChannelScale {
  std::optional<double> constant;  // none: the mean over channels of mean_i |W_ij|
};

// What `emberq quantize` does to a model, step by step; a step that is absent is not done. As JSON,
// with what the fireq recipe says (see docs/quantization.md):
//
//   { "name": "fireq",
//     "smoothing": {
//       "v_mul": 0.9,                           V times, O divided by a constant; 1 or null: off
//       "qkv": null, "o": null,                 Λ of q|k|v into their norm, and of o into v (Λ1)
//       "up_gate": "mean", "down": "mean",      Λ2 and Λ3; "mean" or the constant c
//       "pre_rope": {"alpha": 8},               N, folded into q and k
//       "post_rope": {"beta": 8, "top_k": 8} }, S, applied when the model runs
//     "weights": "int4-g128-e4m3",              or "none"
//     "activations": "fp8-token",               or "none"
//     "kv": "kv4-head",                         or "fp"
//     "query": "fp8-head" }                     or "none"
struct Recipe {
  struct PreRope {
    double alpha = 8;
  };
  struct PostRope {
    double beta = 8;
    int top_k = 8;
  };

  std::string name;
  double v_mul = 1;
  std::optional<ChannelScale> qkv, o, up_gate, down;
  std::optional<PreRope> pre_rope;
  std::optional<PostRope> post_rope;
  std::optional<WeightScheme> weights;
  ActivationScheme activations = ActivationScheme::kNone;
  KvScheme kv = KvScheme::kFp;
  QueryScheme query = QueryScheme::kNone;

  bool needs_calibration() const { return pre_rope || post_rope; }
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

}  // namespace emberq
