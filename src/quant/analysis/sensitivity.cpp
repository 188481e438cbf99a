#include "quant/analysis/sensitivity.h"

#include <algorithm>
#include <numeric>

#include "base/check.h"
#include "eval/divergence.h"
#include "model/load_layer.h"

namespace emberq {
namespace {

// "gate+up_proj" of gate_proj and up_proj.
std::string short_name(const std::vector<Projection>& modules) {
  std::string text;
  for (const Projection module : modules) {
    std::string_view linear = emberq::short_name(module);
    linear.remove_suffix(std::string_view("_proj").size());
    text += fmt::format("{}{}", text.empty() ? "" : "+", linear);
  }
  return text + "_proj";
}

void check_groups(const ModelConfig& config, const SensitivityUnit& unit) {
  const auto require = [&](Projection module, int64_t group, std::string_view scheme) {
    const int64_t k = inputs(config, module);
    EMBERQ_REQUIRE(group == 0 || k % group == 0,
                   "{} has {} inputs, which groups of {} ({}) do not divide", name(module), k,
                   group, scheme);
  };
  const ActivationScheme& input = unit.linear.input;
  for (const Projection module : unit.modules) {
    if (unit.linear.weight)
      require(module, unit.linear.weight->group_size, name(*unit.linear.weight));
    require(module, input.group_size, name(input));
  }
}

// What the caller must have put together rightly, and what the model must have room for.
void check(const ModelConfig& config, const SensitivityUnit& unit) {
  EMBERQ_CHECK(unit.modules.empty() == unit.attention.has_value(),
               "sensitivity: {} must be linears or a cache", unit.name);
  EMBERQ_CHECK(!unit.layer || (*unit.layer >= 0 && *unit.layer < config.num_layers),
               "sensitivity: {} is in layer {} of {}", unit.name, *unit.layer, config.num_layers);
  if (unit.attention) {
    EMBERQ_CHECK(!unit.layer, "sensitivity: {} is of one layer's cache alone", unit.name);
    EMBERQ_CHECK(unit.attention->post_rope.empty() && unit.attention->key_mean.empty() &&
                     unit.attention->value_mean.empty(),
                 "sensitivity: {} has what only calibration finds", unit.name);
  }
  check_groups(config, unit);
}

std::vector<int64_t> layers_of(const ModelConfig& config, const SensitivityUnit& unit) {
  if (unit.layer) return {*unit.layer};
  std::vector<int64_t> layers(static_cast<size_t>(config.num_layers));
  std::iota(layers.begin(), layers.end(), 0);
  return layers;
}

// Its weights stay in its files: of them no more than a block's are in memory.
Model load_original(const Checkpoint& checkpoint, Backend& backend,
                    std::optional<KvScheme> kv = std::nullopt) {
  return Model::load(checkpoint, backend, kv, [&checkpoint] { checkpoint.forget_pages(); });
}

// Measures one unit after the other on the original.
class Analysis {
 public:
  Analysis(const Checkpoint& checkpoint, Backend& backend, ReferenceLogits reference, Model model,
           ScaleRule rule)
      : checkpoint_(checkpoint),
        backend_(backend),
        reference_(std::move(reference)),
        model_(std::move(model)),
        rule_(rule) {}

  Sensitivity measure(const SensitivityUnit& unit, const std::string& label) {
    Sensitivity result{.unit = unit, .mac_share = mac_share(model_.config(), unit)};
    const Divergence divergence =
        unit.attention ? of_cache(unit, label, result) : of_linears(unit, label, result);
    result.kl = divergence.kl;
    result.ppl = divergence.ppl;
    original_ppl_ = divergence.reference_ppl;
    return result;
  }
  double original_ppl() const { return original_ppl_; }

 private:
  struct Original {
    LinearLayer* linear;
    Weight weight;
  };

  Divergence of_linears(const SensitivityUnit& unit, const std::string& label,
                        Sensitivity& result) {
    std::vector<Original> originals;
    double bits = 0, weights = 0;
    for (const int64_t layer : layers_of(model_.config(), unit))
      for (const Projection module : unit.modules) {
        LinearLayer& linear = model_.layer(layer)[module];
        originals.push_back({&linear, linear.weight});
        const auto size = double(linear.weight.n * linear.weight.k);
        bits += size * quantize(layer, module, unit.linear, linear);
        weights += size;
      }
    result.bits = bits / weights;
    const Divergence divergence = emberq::divergence(reference_, model_, label);
    for (Original& original : originals) {
      original.linear->weight = std::move(original.weight);
      original.linear->input = ActivationScheme::kNone;
    }
    return divergence;
  }

  // Returns the bits of a weight.
  double quantize(int64_t layer, Projection module, const PartScheme& scheme, LinearLayer& linear) {
    linear.input = scheme.input;
    const int64_t n = linear.weight.n, k = linear.weight.k;
    const Tensor stored = checkpoint_.get(linear_name(layer, module) + ".weight", {n, k});
    if (!scheme.weight) return 8 * double(size_bytes(stored.dtype()));
    const F64Linear dense{.n = n, .k = k, .weight = stored.to_double()};
    const QuantizedWeight quantized = round_to_nearest(dense, *scheme.weight, rule_);
    linear.weight = backend_.prepare(quantized);
    return bits_per_weight(*scheme.weight, 8 * double(size_bytes(quantized.scale.dtype())),
                           double(k));
  }

  Divergence of_cache(const SensitivityUnit& unit, const std::string& label, Sensitivity& result) {
    const AttentionScheme& attention = *unit.attention;
    Model model = load_original(checkpoint_, backend_, attention.kv);
    for (int64_t i = 0; i < model.config().num_layers; ++i)
      set_attention(model.layer(i), backend_, model.config(), attention, i);
    result.bits = model.cache_shape().bits_per_number(backend_.activation_type());
    return divergence(reference_, model, label);
  }

  const Checkpoint& checkpoint_;
  Backend& backend_;
  ReferenceLogits reference_;
  Model model_;
  ScaleRule rule_;
  double original_ppl_ = 0;
};

}  // namespace

std::string scheme_name(const SensitivityUnit& unit) {
  std::string text;
  const auto add = [&](const std::string& part) { text += (text.empty() ? "" : ", ") + part; };
  if (const auto& attention = unit.attention) {
    add(std::string(name(attention->kv)));
    if (attention->hadamard) add("hadamard");
    if (attention->query != QueryScheme::kNone)
      add(fmt::format("{} queries", name(attention->query)));
    if (attention->probability != ProbabilityScheme::kNone)
      add(fmt::format("{} probabilities", name(attention->probability)));
    return text;
  }
  if (unit.linear.weight) add(name(*unit.linear.weight));
  if (unit.linear.input != ActivationScheme::kNone)
    add(fmt::format("{} inputs", name(unit.linear.input)));
  return text.empty() ? "as stored" : text;
}

std::vector<std::vector<Projection>> single_modules() {
  std::vector<std::vector<Projection>> groups;
  groups.reserve(kProjections.size());
  for (const Projection module : kProjections) groups.push_back({module});
  return groups;
}

std::vector<SensitivityUnit> units_by_module(const std::vector<std::vector<Projection>>& groups,
                                             const PartScheme& scheme) {
  std::vector<SensitivityUnit> units;
  units.reserve(groups.size());
  for (const auto& modules : groups)
    units.push_back({.name = short_name(modules), .modules = modules, .linear = scheme});
  return units;
}

std::vector<SensitivityUnit> units_by_layer(const ModelConfig& config,
                                            const std::vector<std::vector<Projection>>& groups,
                                            const PartScheme& scheme) {
  std::vector<SensitivityUnit> units;
  for (int64_t layer = 0; layer < config.num_layers; ++layer)
    for (SensitivityUnit& unit : units_by_module(groups, scheme)) {
      unit.name = fmt::format("layer {} {}", layer, unit.name);
      unit.layer = layer;
      units.push_back(std::move(unit));
    }
  return units;
}

SensitivityUnit cache_unit(AttentionScheme attention) {
  return {.name = "KV cache", .attention = std::move(attention)};
}

double mac_share(const ModelConfig& config, const SensitivityUnit& unit) {
  const auto macs = [&](const auto& modules) {
    double sum = 0;
    for (const Projection module : modules)
      sum += double(outputs(config, module)) * double(inputs(config, module));
    return sum;
  };
  const double share = macs(unit.modules) / macs(kProjections);
  return unit.layer ? share / double(config.num_layers) : share;
}

SensitivityResult measure_sensitivity(const Checkpoint& checkpoint, Backend& backend,
                                      std::span<const int> ids, const SensitivityOptions& options,
                                      const std::vector<SensitivityUnit>& units) {
  const ModelConfig& config = checkpoint.config();
  checkpoint.require_unquantized();
  EMBERQ_CHECK(!units.empty(), "sensitivity: nothing to measure");
  for (const SensitivityUnit& unit : units) check(config, unit);
  const int64_t windows = options.windows, length = options.length;
  EMBERQ_REQUIRE(windows > 0, "a sensitivity analysis needs at least one window, got {}", windows);
  EMBERQ_REQUIRE(int64_t(ids.size()) / windows >= length,
                 "the calibration text has {} tokens, {} windows of {} need {}", ids.size(),
                 windows, length, windows * length);
  const double bytes = double(windows) * double(length) * double(config.vocab_size) * sizeof(float);
  EMBERQ_REQUIRE(bytes <= kMaxLogitBytes,
                 "the logits of {} windows of {} tokens take {:.1f} GB, more than {:.0f}", windows,
                 length, bytes / 1e9, kMaxLogitBytes / 1e9);

  Model model = load_original(checkpoint, backend);
  ReferenceLogits reference =
      reference_logits(model, ids, {.window = length, .max_windows = windows});
  SensitivityResult report;
  Analysis analysis(checkpoint, backend, std::move(reference), std::move(model), options.rule);
  for (const SensitivityUnit& unit : units)
    report.units.push_back(analysis.measure(
        unit, fmt::format("{}/{} {}", report.units.size() + 1, units.size(), unit.name)));
  report.ppl = analysis.original_ppl();
  return report;
}

}  // namespace emberq
