#include "quant/layer_quantizer.h"

#include <algorithm>
#include <set>

#include "base/check.h"
#include "base/parallel.h"
#include "format/bf16.h"
#include "format/fp16.h"
#include "model/load_layer.h"
#include "model/parameters.h"
#include "quant/layer/upload_layer.h"
#include "quant/rounding/generalization.h"
#include "quant/rounding/linear_algebra.h"
#include "quant/transform/channel_scale.h"
#include "quant/transform/rope_scale.h"
#include "quant/transform/rotation.h"
#include "tensor/join_rows.h"

namespace emberq {
namespace {

// Statistics of inputs need fewer tokens than the error feedback does.
constexpr int64_t kStatisticsWindows = 16;

constexpr int64_t kHeadRows = 4096;  // that are in double at a time

// A rotated residual stream needs a head in its basis, and a quantized head is made of one. It is
// written last: whether there is one is found out first.
void check_head(const Checkpoint& checkpoint, const Recipe& recipe) {
  if ((recipe.rotation.residual || recipe.lm_head) && checkpoint.has_own_head())
    (void)checkpoint.stored(std::string(kHeadName));
}

CalibrationWindows every(int64_t stride, const CalibrationWindows& windows) {
  CalibrationWindows chosen{windows.length, {}};
  for (size_t w = 0; w < windows.ids.size(); w += size_t(stride))
    chosen.ids.push_back(windows.ids[w]);
  return chosen;
}

Tensor as_type(DType type, const std::vector<int64_t>& shape, const std::vector<double>& values) {
  const std::vector<float> floats(values.begin(), values.end());
  if (type == DType::kF32) return Tensor::of(shape, floats);
  const auto narrow = [&]<class T>(T) {
    std::vector<T> narrowed;
    narrowed.reserve(floats.size());
    for (const float x : floats) narrowed.push_back(T::from_float(x));
    return Tensor::copy_of(type, shape, std::span<const T>(narrowed));
  };
  return type == DType::kBF16 ? narrow(bf16()) : narrow(fp16());
}

// a - b, less the bias of each row, if there is one.
std::vector<float> difference(std::vector<float> a, const std::vector<float>& b,
                              const std::vector<double>& bias) {
  for (size_t i = 0; i < a.size(); ++i) a[i] -= b[i];
  for (size_t i = 0; i < a.size() && !bias.empty(); ++i) a[i] -= float(bias[i % bias.size()]);
  return a;
}

// Sums over calibration tokens in two halves: every other window; of a single window its own.
class SplitSums {
 public:
  SplitSums(int64_t k, int64_t windows) : k_(k), windows_(windows) {}

  // The next window, x̂ [length, k].
  void begin(const std::vector<float>& seen) {
    seen_ = &seen;
    const int64_t length = int64_t(seen.size()) / k_, w = window_++;
    const int64_t middle = windows_ == 1 ? length / 2 : w % 2 ? 0 : length;
    rows_ = {middle, length - middle};
    for (size_t h = 0; h < 2; ++h) halves_[h].tokens += rows_[h];
    for (int64_t t = 0; t < length; ++t) {
      double square = 0;
      for (int64_t j = t * k_; j < (t + 1) * k_; ++j)
        square += double(seen[size_t(j)]) * double(seen[size_t(j)]);
      fourth_powers_ += square * square;
    }
    split(&InputSums::gram, k_, [&](int64_t first, int64_t rows, std::vector<double>& sum) {
      add_gram(seen.data() + first * k_, rows, k_, sum);
    });
  }
  // a x̂^T for that window's a [length, n].
  void add(std::vector<double> InputSums::*sum, const std::vector<float>& a) {
    const int64_t n = int64_t(a.size()) / (rows_[0] + rows_[1]);
    split(sum, n, [&](int64_t first, int64_t rows, std::vector<double>& half) {
      add_cross(a.data() + first * n, n, seen_->data() + first * k_, k_, rows, half);
    });
  }
  // Of windows with so many different tokens. Once, at the end.
  InputStatistics statistics(int64_t distinct) {
    InputSums &half = halves_[0], &all = halves_[1];
    all.tokens += half.tokens;
    for (const auto sum :
         {&InputSums::gram, &InputSums::cross, &InputSums::outputs, &InputSums::residual})
      for (size_t i = 0; i < (all.*sum).size(); ++i) (all.*sum)[i] += (half.*sum)[i];
    const double shrinkage = gram_shrinkage(all.gram, fourth_powers_, all.tokens, distinct, k_);
    return {.k = k_, .all = std::move(all), .shrinkage = shrinkage, .half = std::move(half)};
  }

 private:
  template <class Add>
  void split(std::vector<double> InputSums::*sum, int64_t n, const Add& add) {
    for (size_t h = 0; h < 2; ++h) {
      (halves_[h].*sum).resize(size_t(n * k_));
      if (rows_[h] > 0) add(h == 0 ? 0 : rows_[0], rows_[h], halves_[h].*sum);
    }
  }

  int64_t k_, windows_, window_ = 0;
  const std::vector<float>* seen_ = nullptr;
  std::array<int64_t, 2> rows_ = {};  // of the window, in either half
  std::array<InputSums, 2> halves_;
  double fourth_powers_ = 0;  // sum |x̂|^4
};

}  // namespace

LayerQuantizer::LayerQuantizer(const Checkpoint& checkpoint, Backend& backend, const Recipe& recipe,
                               const Plan& plan, const CalibrationWindows& windows, bool examine)
    : checkpoint_(checkpoint),
      config_(checkpoint.config()),
      backend_(backend),
      recipe_(recipe),
      plan_(plan),
      examine_(examine) {
  check_head(checkpoint, recipe);
  if (recipe.rotation.residual) rotation_ = rotation_matrix(config_.hidden_size);
  if (recipe.rotation.down > 0)
    down_hadamard_ = hadamard_block(config_.intermediate_size, recipe.rotation.down);
  if (down_hadamard_ == 1) down_hadamard_ = 0;  // an odd size has no transform
  const bool gptq = recipe.rounding.gptq && recipe.quantizes_weights();
  if (!recipe.needs_statistics() && !gptq) return;

  const int64_t stride = std::max<int64_t>(1, int64_t(windows.ids.size()) / kStatisticsWindows);
  stride_ = gptq ? stride : 1;  // without error feedback the stream is there for statistics alone
  const Weight table = backend.prepare(embedding());
  original_.emplace(backend, config_, gptq ? windows : every(stride, windows), table,
                    KvScheme::kFp);
  if (!gptq) return;
  quantized_.emplace(backend, config_, windows, table, recipe.kv);
  std::set<int> distinct;
  for (const std::vector<int>& ids : windows.ids) distinct.insert(ids.begin(), ids.end());
  distinct_ = int64_t(distinct.size());
}

Tensor LayerQuantizer::rotated(const std::string& name, const std::vector<double>& norm) const {
  Tensor original = checkpoint_.get(name, kEmbedding.shape(config_));
  if (rotation_.empty()) return original;
  std::vector<double> values = original.to_double();
  rotate_columns(values, config_.vocab_size, rotation_, norm);
  return as_type(original.dtype(), original.shape(), values);
}

Tensor LayerQuantizer::embedding() const { return rotated(std::string(kEmbeddingName), {}); }

Tensor LayerQuantizer::head() const {
  return rotated(
      std::string(checkpoint_.has_own_head() ? kHeadName : kEmbeddingName),
      checkpoint_.get(std::string(kFinalNorm.name), kFinalNorm.shape(config_)).to_double());
}

QuantizedWeight LayerQuantizer::quantized_head() const {
  const Tensor dense = head();
  const int64_t n = config_.vocab_size, k = config_.hidden_size;
  const size_t row_bytes = dense.bytes().size() / size_t(n);
  std::vector<QuantizedWeight> parts;
  for (int64_t first = 0; first < n; first += kHeadRows) {
    const int64_t rows = std::min(kHeadRows, n - first);
    const Tensor part(dense.dtype(), {rows, k}, {},
                      dense.bytes().data() + size_t(first) * row_bytes);
    parts.push_back(round_to_nearest({.n = rows, .k = k, .weight = part.to_double()},
                                     *recipe_.lm_head, ScaleRule::kLeastSquares));
  }
  return join_rows(parts, 0);
}

F64Layer LayerQuantizer::original_block(int64_t layer) const {
  F64Layer block = read_block(checkpoint_, layer);
  if (!rotation_.empty()) rotate_residual(block, rotation_);
  return block;
}

// A λ that follows from weights alone is taken in FireQ's order. The others go from the inside out:
// what a producer's rows are scaled by is settled before its own inputs are looked at, so that
// outliers put into the weights in pairs (one channel times c here, divided by c there) are taken
// out again whole.
void LayerQuantizer::transform(int64_t layer, F64Layer& block, const LayerStatistics& statistics,
                               std::vector<PostRopeScale>& post_rope) const {
  if (recipe_.post_rope) post_rope = post_rope_scale(statistics.keys, *recipe_.post_rope);
  if (recipe_.pre_rope)
    fold_pre_rope_scale(
        block, config_,
        pre_rope_scale(statistics.keys, post_rope, *recipe_.pre_rope, config_.qk_norm));
  if (recipe_.value_scale != 1) scale_values(block, recipe_.value_scale);

  const auto fold = [&](LinearInput site) {
    fold_channel_scales(
        block, config_, site,
        channel_scales(block, config_, site, *recipe_.channel_scale(site),
                       statistics.sites[size_t(site)], plan_.weights[size_t(layer)]));
  };
  const auto by_weights = [&](LinearInput site) {
    return recipe_.channel_scale(site)->rule == ChannelScale::Rule::kMean;
  };
  for (const LinearInput site : kLinearInputs)
    if (recipe_.channel_scale(site) && by_weights(site)) fold(site);
  for (const LinearInput site : {LinearInput::kMlpDown, LinearInput::kMlp,
                                 LinearInput::kAttentionOut, LinearInput::kAttention})
    if (recipe_.channel_scale(site) && !by_weights(site)) fold(site);

  if (recipe_.rotation.values) rotate_values(block, config_);
  if (down_hadamard_ > 0) rotate_down_inputs(block, down_hadamard_);
}

QuantizedBlock LayerQuantizer::transformed(int64_t layer, LayerStatistics& statistics) {
  QuantizedBlock result{.dense = original_block(layer)};
  if (original_)
    statistics = original_->statistics(upload_layer(backend_, config_, result.dense, layer, 0),
                                       stride_, recipe_.sites_with_moments());
  transform(layer, result.dense, statistics, result.post_rope);
  return result;
}

// Computes what the block did before it was transformed.
DecoderLayer LayerQuantizer::original_layer(int64_t layer, const F64Layer& block) const {
  return upload_layer(backend_, config_, block, layer, down_hadamard_);
}

void LayerQuantizer::center(int64_t layer, QuantizedBlock& block) {
  const KeyStatistics keys = original_->keys(original_layer(layer, block.dense), stride_);
  const auto mean = [&](const std::vector<double>& sums) {
    std::vector<float> means;
    means.reserve(sums.size());
    for (const double sum : sums) means.push_back(float(sum / double(keys.tokens)));
    return means;
  };
  block.key_mean = mean(keys.key_sum);
  block.value_mean = mean(keys.value_sum);
}

KeyStatistics LayerQuantizer::smoothed_keys(int64_t layer, const QuantizedBlock& block) {
  AttentionScheme smoothing{.hadamard = recipe_.rotation.keys};
  append_attention(block, smoothing);
  DecoderLayer smoothed = original_layer(layer, block.dense);
  set_attention(smoothed, backend_, config_, smoothing, 0);
  return original_->keys(smoothed, stride_);
}

QuantizedBlock LayerQuantizer::quantize(int64_t layer, LayerResult& report) {
  LayerStatistics statistics;
  QuantizedBlock result = transformed(layer, statistics);
  for (const Projection module : kProjections)
    if (plan_.weights[size_t(layer)][size_t(module)])
      result.activations[size_t(module)] =
          plan_.activations[size_t(layer)][size_t(input_of(module))];
  if (recipe_.subtract_kv_mean) center(layer, result);
  if (original_ && examine_) report.smoothed_keys = smoothed_keys(layer, result);
  if (quantized_)
    round_by_gptq(layer, result, report);
  else
    round(layer, result, report);
  report.keys = statistics.keys;
  for (const LinearInput site : kLinearInputs)
    for (const float x : statistics.sites[size_t(site)].absmax)
      report.input_absmax[size_t(site)] = std::max(report.input_absmax[size_t(site)], x);
  return result;
}

// The original's stream takes the steps that quantize() takes, to the bit.
void LayerQuantizer::skip(int64_t layer, const DecoderLayer& quantized) {
  LayerStatistics statistics;
  if (original_) original_->advance(original_layer(layer, transformed(layer, statistics).dense));
  if (quantized_) quantized_->advance(quantized);
}

void LayerQuantizer::round(int64_t layer, QuantizedBlock& block, LayerResult& report) {
  for (const Projection module : kProjections) {
    const auto& scheme = plan_.weights[size_t(layer)][size_t(module)];
    if (!scheme) continue;
    auto& weight = block.weights[size_t(module)];
    weight = round_to_nearest(block.dense[module], *scheme, recipe_.rounding.scale);
    report.linears.push_back(report_linear(module, block.dense[module], *weight,
                                           block.activations[size_t(module)], {}, 0));
  }
  if (original_) original_->advance(original_layer(layer, block.dense));
}

InputStatistics LayerQuantizer::input_statistics(const DecoderLayer& original,
                                                 const DecoderLayer& quantized, LinearInput site,
                                                 const std::vector<double>& bias) {
  const bool residual = site == LinearInput::kAttentionOut || site == LinearInput::kMlpDown;
  SplitSums sums(inputs(config_, site), original_->windows());
  for (int64_t w = 0; w < original_->windows(); ++w) {
    const std::vector<float>& seen = quantized_->input(quantized, w, site);
    const std::vector<float>& x = original_->input(original, w, site);
    sums.begin(seen);
    if (!residual) {
      sums.add(&InputSums::cross, x);
      continue;
    }
    const std::vector<float> before = original_->hidden(w);
    sums.add(&InputSums::residual, difference(before, quantized_->hidden(w), {}));
    original_->add(original, w, site);
    sums.add(&InputSums::outputs, difference(original_->hidden(w), before, bias));
    quantized_->keep();
  }
  return sums.statistics(distinct_);
}

AttentionScheme attention_scheme(const Recipe& recipe) {
  return {.kv = recipe.kv,
          .query = recipe.query,
          .probability = recipe.probability,
          .hadamard = recipe.rotation.keys};
}

void append_attention(const QuantizedBlock& block, AttentionScheme& attention) {
  if (!block.post_rope.empty()) attention.post_rope.push_back(block.post_rope);
  if (!block.key_mean.empty()) attention.key_mean.push_back(block.key_mean);
  if (!block.value_mean.empty()) attention.value_mean.push_back(block.value_mean);
}

void LayerQuantizer::round_by_gptq(int64_t layer, QuantizedBlock& block, LayerResult& report) {
  const DecoderLayer original = original_layer(layer, block.dense);
  DecoderLayer quantized =
      layer_without_weights(backend_, config_, block.dense, layer, down_hadamard_);
  AttentionScheme attention = attention_scheme(recipe_);
  append_attention(block, attention);
  set_attention(quantized, backend_, config_, attention, 0);
  for (const Projection module : kProjections)
    quantized[module].input = block.activations[size_t(module)];

  report.error_before = stream_error();
  double shrinkage = 0;  // of q, k and v
  for (const LinearInput site : kLinearInputs) {
    InputStatistics statistics = input_statistics(original, quantized, site,
                                                  block.dense[linears_reading(site).front()].bias);
    if (site == LinearInput::kAttention) shrinkage = statistics.shrinkage;
    // o_proj's inputs are means of the values of many tokens: they vary little among themselves,
    // and tell no more of other text than the values do.
    if (site == LinearInput::kAttentionOut)
      statistics.shrinkage = std::max(statistics.shrinkage, shrinkage);
    for (const Projection module : linears_reading(site)) {
      const auto& scheme = plan_.weights[size_t(layer)][size_t(module)];
      F64Linear& dense = block.dense[module];
      if (!scheme) {
        quantized[module].weight = upload_weight(backend_, dense);
        continue;
      }
      auto& weight = block.weights[size_t(module)];
      weight = gptq(dense, *scheme, statistics, recipe_.rounding.options);
      quantized[module].weight = backend_.prepare(*weight);
      report.linears.push_back(report_linear(module, dense, *weight,
                                             block.activations[size_t(module)], statistics.all.gram,
                                             statistics.all.tokens));
    }
    if (site != LinearInput::kAttentionOut && site != LinearInput::kMlpDown) continue;
    if (site == LinearInput::kAttentionOut && recipe_.kv != KvScheme::kFp && examine_)
      report.error_cache = quantized_->cache_error(quantized, stride_);
    for (int64_t w = 0; w < quantized_->windows(); ++w) quantized_->add(quantized, w, site);
    (site == LinearInput::kAttentionOut ? report.error_attention : report.error_after) =
        stream_error();
  }
}

double LayerQuantizer::stream_error() const {
  std::vector<RelativeError> windows(size_t(original_->windows()));
  parallel_for(0, original_->windows(), [&](int64_t w) {
    windows[size_t(w)].add(original_->hidden(w), quantized_->hidden(w));
  });
  RelativeError all;
  for (const RelativeError& window : windows) all.add(window);
  return all.value();
}

}  // namespace emberq
