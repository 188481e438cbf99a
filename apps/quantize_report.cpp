#include "apps/quantize_report.h"

#include <fmt/chrono.h>

#include <algorithm>
#include <ctime>

#include "apps/app.h"
#include "apps/version.h"
#include "base/json.h"
#include "eval/divergence.h"
#include "text/read_utf8.h"
#include "text/tokenizer.h"
#include "text/unicode.h"

namespace emberq {
namespace {

constexpr int64_t kWindows = 4, kLength = 512;  // of the first calibration text, to compare methods

double parameters(const ModelConfig& config) {
  double weights =
      double(config.vocab_size * config.hidden_size) * (config.tie_word_embeddings ? 1 : 2);
  for (const Projection module : kProjections)
    weights += double(config.num_layers * outputs(config, module) * inputs(config, module));
  return weights;
}

// A path need not be UTF-8; a page is.
std::string text_of(const fs::path& path) { return lossy_utf8(path.string()); }

// Rows of the table that compares methods.
class Methods {
 public:
  Methods(const QuantizeOptions& options, Backend& backend)
      : options_(options),
        backend_(backend),
        original_(Checkpoint::open(options.model)),
        reference_(make_reference()) {}

  OrderedJson original() {
    Model model = Model::load(original_, backend_);
    const Divergence d = divergence(reference_, model);
    fp_ppl_ = d.reference_ppl;
    return {{"name", "FP32"},
            {"ppl", d.reference_ppl},
            {"ppl_increase", 0},
            {"kl", 0},
            {"bits_per_weight", 16},
            {"kv_bits", kv_bits_per_number(original_)},
            {"file_bytes", original_.file_bytes()},
            {"measured", true},
            {"source", "this run"},
            {"note", "the model as it came, computed in FP32"}};
  }

  OrderedJson quantized(const std::string& name, const fs::path& folder, double bits) {
    const Checkpoint checkpoint = Checkpoint::open(folder);
    Model model = Model::load(checkpoint, backend_);
    const Divergence d = divergence(reference_, model);
    return {{"name", name},
            {"ppl", d.ppl},
            {"ppl_increase", d.ppl - fp_ppl_},
            {"kl", d.kl},
            {"bits_per_weight", bits},
            {"kv_bits", kv_bits_per_number(checkpoint)},
            {"file_bytes", checkpoint.file_bytes()},
            {"measured", true},
            {"source", "this run"}};
  }

  OrderedJson other(const QuantizeOptions& options) {
    const QuantizeResult report = quantize(options, backend_);
    OrderedJson row = quantized(options.recipe.name, options.output, report.bits_per_weight);
    remove_folder(options.output);
    return row;
  }

  int64_t tokens() const { return int64_t(reference_.ids.size()); }

 private:
  ReferenceLogits make_reference() {
    const Tokenizer tokenizer = Tokenizer::load(original_.folder());
    const std::vector<int> ids =
        tokenizer.encode(read_utf8(options_.calibration.front()), SpecialTokens::kNone);
    Model model = Model::load(original_, backend_);
    const int64_t length =
        std::min({kLength, original_.config().max_positions, int64_t(ids.size())});
    return reference_logits(model, ids, {.window = length, .max_windows = kWindows});
  }

  const QuantizeOptions& options_;
  Backend& backend_;
  Checkpoint original_;
  ReferenceLogits reference_;
  double fp_ppl_ = 0;
};

std::string site_name(LinearInput site) {
  std::string text;
  for (const Projection module : linears_reading(site))
    text += fmt::format("{}{}", text.empty() ? "" : ", ", short_name(module));
  return text + " input";
}

void add_block(int64_t layer, const LayerResult& block, const QuantizeResult& report,
               const ModelConfig& config, OrderedJson& page) {
  for (const LinearResult& linear : block.linears) {
    const SensitivityUnit unit{.layer = layer, .modules = {linear.module}};
    OrderedJson row = {{"layer", layer},
                       {"module", name(linear.module)},
                       {"scheme", linear.scheme},
                       {"activation", linear.activation},
                       {"bits", linear.bits},
                       {"sqnr_db", linear.sqnr_db},
                       {"mac_share", mac_share(config, unit)},
                       {"input_absmax", nullptr}};
    const float absmax = block.input_absmax[size_t(input_of(linear.module))];
    if (absmax > 0) row["input_absmax"] = absmax;
    if (linear.input_rms > 0) {
      row["input_rms"] = linear.input_rms;
      row["output_sqnr_db"] = linear.output_sqnr_db;
    }
    for (const Sensitivity& s : report.sensitivities)
      if (s.unit.layer == unit.layer && s.unit.modules == unit.modules &&
          scheme_name(s.unit) == linear.scheme) {
        row["kl"] = s.kl;
        row["ppl"] = s.ppl;
      }
    page["linears"].push_back(row);
  }
  for (const LinearInput site : kLinearInputs)
    if (block.input_absmax[size_t(site)] > 0)
      page["activations"].push_back({{"layer", layer},
                                     {"site", site_name(site)},
                                     {"absmax", block.input_absmax[size_t(site)]}});
  const KeyStatistics &before = block.keys, &after = block.smoothed_keys;
  for (int64_t h = 0; h < before.kv_heads; ++h) {
    const auto head = [&](const KeyStatistics& keys) {
      const auto* first = keys.channel_absmax.data() + h * keys.head_dim;
      return std::vector<float>(first, first + keys.head_dim);
    };
    page["keys"].push_back(
        {{"layer", layer}, {"kv_head", h}, {"original", head(before)}, {"smoothed", head(after)}});
  }
  if (block.error_after > 0) {
    // Squares add up where errors have nothing to do with each other.
    const double after_block = block.error_after * block.error_after;
    const auto share = [&](double end, double begin) {
      return std::max(0.0, end * end - begin * begin) / after_block;
    };
    page["layer_errors"].push_back(
        {{"layer", layer},
         {"hidden_error", block.error_after},
         {"attention_share", std::min(1.0, share(block.error_attention, block.error_before))},
         {"kv_share", std::min(1.0, share(block.error_cache, 0))},
         {"mlp_share", std::min(1.0, share(block.error_after, block.error_attention))}});
  }
}

}  // namespace

std::vector<QuantizeOptions> other_methods(const QuantizeOptions& main,
                                           const std::vector<std::string>& recipes) {
  std::vector<QuantizeOptions> others;
  for (const std::string& name : recipes) {
    QuantizeOptions other = main;
    other.recipe = find_recipe(name);
    if (main.calibration.empty() || other.recipe.name == main.recipe.name) continue;
    other.output = fmt::format("{}.against-{}", main.output.string(), others.size() + 1);
    other.resume = other.examine = false;
    if (other.calibration_windows)
      other.calibration_windows =
          std::min(*other.calibration_windows, other.recipe.calibration_windows);
    others.push_back(other);
  }
  return others;
}

OrderedJson quantize_report(const QuantizeOptions& options, const QuantizeResult& report,
                            const std::vector<QuantizeOptions>& others, Backend& backend) {
  const Checkpoint made = Checkpoint::open(options.output);
  OrderedJson page = {
      {"title", fmt::format("{} · {}", text_of(fs::absolute(options.model).filename()),
                            options.recipe.name)},
      {"model", text_of(options.model)},
      {"recipe", options.recipe.name},
      {"created", fmt::format("{:%Y-%m-%d}", fmt::localtime(std::time(nullptr)))},
      {"version", version()},
      {"summary",
       {{"bits_per_weight", report.bits_per_weight},
        {"kv_bits", kv_bits_per_number(made)},
        {"file_bytes", report.file_bytes},
        {"original_bytes", Checkpoint::open(options.model).file_bytes()},
        {"seconds", report.seconds},
        {"peak_rss_bytes", report.peak_memory},
        {"calibration_tokens", report.calibration_tokens},
        {"parameters", parameters(made.config())}}}};
  if (!options.calibration.empty()) {
    Methods methods(options, backend);
    page["methods"].push_back(methods.original());
    page["methods"].push_back(
        methods.quantized(options.recipe.name, options.output, report.bits_per_weight));
    for (const QuantizeOptions& other : others) page["methods"].push_back(methods.other(other));
    page["notes"].push_back(fmt::format(
        "Perplexity and KL are over the first {} tokens of {}, which calibration saw too.",
        methods.tokens(), text_of(options.calibration.front().filename())));
  }
  for (size_t layer = 0; layer < report.blocks.size(); ++layer)
    add_block(int64_t(layer), report.blocks[layer], report, made.config(), page);
  for (const PlanChoice& choice : report.choices)
    page["choices"].push_back(
        {{"what", choice.what}, {"chosen", choice.chosen}, {"why", choice.why}});
  return page;
}

}  // namespace emberq
