#pragma once

#include <array>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/json_fwd.h"
#include "base/regex.h"
#include "format/scheme.h"

// The compressed-tensors format (github.com/vllm-project/compressed-tensors): `quantization_config`
// in config.json, and for each quantized linear of n outputs and k inputs
//
//   pack-quantized    weight_packed I32 [n, packed_words(k)] (format/pack.h), weight_shape I64 [2];
//                     weight_zero_point I32 [packed_words(n), k / group_size], each column packed
//   int-quantized     weight I8 [n, k]; weight_zero_point I8 [n, k / group_size]
//   float-quantized   weight F8_E4M3 [n, k]
//   all               weight_scale BF16, F16 or F32 [n, k / group_size]; [n, 1] is a scale per row
//
// It has no word for codes that are looked up (WeightCode::kLut) nor for e2m3 with scales that are
// no powers of two. A model with such linears has the same layout under the quant_method "emberq",
// with the weights' type "lut", or "float" of 6 bits, so that no other reader takes their codes for
// integers.
namespace emberq {

// What a quantized linear stores, and what it rounds its input to.
struct LinearScheme {
  WeightScheme weight;
  ActivationScheme activation = ActivationScheme::kNone;
  bool operator==(const LinearScheme&) const = default;
};

enum class WeightStorage { kPackQuantized, kIntQuantized, kFloatQuantized };

// How emberq stores weights of a scheme whose group_size is 0 for one scale per row: e4m3 codes as
// kFloatQuantized, INT8 with one scale per row as kIntQuantized, all others as kPackQuantized.
WeightStorage storage_of(const WeightScheme& scheme);

// The tensors of a linear: the name of its module and one of these.
inline constexpr std::string_view kWeightSuffix = ".weight", kPackedSuffix = ".weight_packed",
                                  kScaleSuffix = ".weight_scale",
                                  kZeroPointSuffix = ".weight_zero_point",
                                  kShapeSuffix = ".weight_shape",
                                  kGroupIndexSuffix = ".weight_g_idx";
// Those that a weight's value depends on.
inline constexpr std::array kValueSuffixes = {kWeightSuffix, kPackedSuffix, kScaleSuffix,
                                              kZeroPointSuffix};

inline constexpr std::string_view kHeadModule = "lm_head";  // the output head

// Which linears of a model are quantized, and how.
class QuantizationConfig {
 public:
  struct Group {
    LinearScheme scheme;  // weight.group_size is 0 for one scale per row
    WeightStorage storage = WeightStorage::kPackQuantized;
  };

  // `config` is the quantization_config. InputError names the key that asks for something emberq
  // does not run.
  static QuantizationConfig parse(const JsonObject& config);

  // The group of the linear `module` ("model.layers.0.mlp.up_proj"); null where it is not
  // quantized.
  const Group* find(std::string_view module) const;
  const std::vector<Group>& groups() const { return groups_; }

 private:
  // A module's name, the class "Linear", or "re:" and a pattern that matches from a name's start.
  struct Target {
    explicit Target(std::string text);
    bool matches(std::string_view module) const;
    // compressed-tensors prefers names to patterns and patterns to classes.
    int rank() const { return pattern ? 1 : text == "Linear" ? 2 : 0; }

    std::string text;
    std::optional<Regex> pattern;
  };

  std::vector<Group> groups_;
  std::vector<std::pair<Target, size_t>> targets_;  // and its group; the preferred first
  std::vector<Target> ignored_;
};

// The quantization_config of a model whose linears are stored as quantized_tensors(): one group
// for each scheme, with a group_size of 0 for one scale per row, and one for the head, which in
// vLLM is of another class than "Linear". `ignore` names the linears that are not quantized.
// `emberq_only` gives the model the quant_method "emberq" whatever its schemes are: where the
// emberq.json says what no reader may miss (down_hadamard).
OrderedJson quantization_config(const std::vector<std::pair<std::string, LinearScheme>>& linears,
                                const std::vector<std::string>& ignore, bool emberq_only = false);

}  // namespace emberq
