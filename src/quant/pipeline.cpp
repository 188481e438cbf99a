#include "quant/pipeline.h"

#include <chrono>
#include <set>

#include "base/check.h"
#include "base/progress.h"
#include "checkpoint/output_folder.h"
#include "quant/calibration.h"
#include "quant/channel_scale.h"
#include "quant/merged_tensors.h"
#include "quant/rope_scale.h"
#include "quant/rtn.h"
#include "text/tokenizer.h"

namespace emberq {
namespace {

void check_groups(const Checkpoint& checkpoint, const WeightScheme& scheme) {
  for (const Module module : kModules) {
    const int64_t k = inputs(checkpoint.config(), module);
    if (k % scheme.group_size == 0) continue;
    std::string fitting;
    for (const int group : {32, 64, 128})
      if (k % group == 0) fitting += fmt::format("{}{}", fitting.empty() ? "" : ", ", group);
    throw InputError(fmt::format(
        "{}: {} has {} inputs, not a multiple of the group size {}; {}",
        checkpoint.folder().string(), linear_name(0, module), k, scheme.group_size,
        fitting.empty() ? "none of 32, 64 and 128 fits" : "these group sizes fit: " + fitting));
  }
}

std::vector<KeyStatistics> calibrate(const QuantizeOptions& options, const Checkpoint& checkpoint,
                                     Backend& backend) {
  if (!options.recipe.needs_calibration()) return {};
  EMBERQ_REQUIRE(options.calibration, "the recipe {} needs a calibration text (--calib)",
                 options.recipe.name);
  const int64_t length = options.calibration_length;
  EMBERQ_REQUIRE(length <= checkpoint.config().max_positions,
                 "a calibration window of {} tokens is longer than the model's {} positions",
                 length, checkpoint.config().max_positions);
  const Tokenizer tokenizer = Tokenizer::load(checkpoint.folder());
  const std::vector<int> ids =
      tokenizer.encode(read_text(*options.calibration), SpecialTokens::kNone);
  Model model = Model::load(checkpoint, backend, KvScheme::kFp);
  return collect_key_statistics(model, ids, options.calibration_windows, length);
}

// One block from the original's parameters to those of the quantized model. Returns its S.
std::vector<PostRopeScale> smooth(DenseBlock& block, const ModelConfig& config,
                                  const Recipe& recipe, const KeyStatistics* keys) {
  if (recipe.v_mul != 1) scale_values(block, recipe.v_mul);
  if (recipe.qkv) scale_qkv_inputs(block, *recipe.qkv);
  if (recipe.o) scale_o_inputs(block, config, *recipe.o);
  if (recipe.up_gate) scale_up_gate_inputs(block, *recipe.up_gate);
  if (recipe.down) scale_down_inputs(block, *recipe.down);

  std::vector<PostRopeScale> post_rope;
  if (recipe.post_rope) post_rope = post_rope_scale(*keys, *recipe.post_rope);
  if (recipe.pre_rope)
    fold_pre_rope_scale(block, config,
                        pre_rope_scale(*keys, post_rope, *recipe.pre_rope, config.qk_norm));
  return post_rope;
}

// Writes a model's tensors, and counts what its linears take.
class BlockWriter {
 public:
  BlockWriter(const Checkpoint& checkpoint, const Recipe& recipe, const fs::path& folder)
      : checkpoint_(checkpoint), recipe_(recipe), writer_(folder) {}

  // A tensor as it is in the original.
  void copy(const std::string& name) { writer_.add(name, checkpoint_.get(name)); }

  void write(int64_t layer, const DenseBlock& block) {
    const auto vector = [&](std::string_view tensor, const std::vector<double>& values) {
      if (!values.empty()) write_merged(layer_tensor(layer, tensor), values);
    };
    vector("input_layernorm.weight", block.input_layernorm);
    vector("post_attention_layernorm.weight", block.post_attention_layernorm);
    vector("self_attn.q_norm.weight", block.q_norm);
    vector("self_attn.k_norm.weight", block.k_norm);
    for (const Module module : kModules) {
      const std::string name = linear_name(layer, module);
      write_linear(name, block[module]);
      if (!block[module].bias.empty()) write_merged(name + ".bias", block[module].bias);
    }
  }

  // The side file's p, and the configuration of what was written.
  const std::map<std::string, float>& per_tensor_scales() const { return per_tensor_scales_; }
  const std::vector<std::pair<std::string, LinearScheme>>& linears() const { return linears_; }
  double bits_per_weight() const { return 8 * double(linear_bytes_) / double(weights_); }

  bool written(const std::string& name) const { return written_.contains(name); }
  void finish() { writer_.finish(); }

 private:
  void write_linear(const std::string& name, const DenseLinear& linear) {
    weights_ += linear.n * linear.k;
    if (!recipe_.weights) {
      linear_bytes_ += write_merged(name + ".weight", linear.weight);
      return;
    }
    const QuantizedWeight quantized = round_to_nearest(linear, *recipe_.weights);
    if (quantized.per_tensor_scale != 1) per_tensor_scales_[name] = quantized.per_tensor_scale;
    linears_.emplace_back(name, LinearScheme{*recipe_.weights, recipe_.activations});
    linear_bytes_ += quantized.packed.bytes().size() + quantized.scale.bytes().size();
    add_quantized_weight(writer_, name, quantized);
    written_.insert(name + ".weight");
  }

  // Values that a merge may have changed: as stored before where it did not, else in F32.
  size_t write_merged(const std::string& name, const std::vector<double>& values) {
    const Tensor tensor = merged_tensor(checkpoint_.get(name), values);
    writer_.add(name, tensor);
    written_.insert(name);
    return tensor.bytes().size();
  }

  const Checkpoint& checkpoint_;
  const Recipe& recipe_;
  SafetensorsWriter writer_;
  std::set<std::string> written_;
  std::map<std::string, float> per_tensor_scales_;
  std::vector<std::pair<std::string, LinearScheme>> linears_;
  size_t linear_bytes_ = 0;
  int64_t weights_ = 0;
};

void write_configuration(const Checkpoint& checkpoint, const fs::path& folder,
                         const SideFile& side_file, const BlockWriter& blocks) {
  OrderedJson changes = OrderedJson::object();
  if (!blocks.linears().empty())
    changes["quantization_config"] = quantization_config(blocks.linears(), {"lm_head"});
  write_config(checkpoint.folder(), folder, changes);
  write_text(folder / kSideFileName, to_json(side_file).dump(1) + "\n");
  copy_companion_files(checkpoint.folder(), folder);
}

uint64_t weight_file_bytes(const fs::path& folder) {
  uint64_t bytes = 0;
  for (const auto& entry : fs::directory_iterator(folder))
    if (entry.path().extension() == ".safetensors") bytes += entry.file_size();
  return bytes;
}

}  // namespace

QuantizeReport quantize(const QuantizeOptions& options, Backend& backend) {
  const auto start = std::chrono::steady_clock::now();
  const Recipe& recipe = options.recipe;
  const Checkpoint checkpoint = Checkpoint::open(options.model);
  const ModelConfig& config = checkpoint.config();
  EMBERQ_REQUIRE(!checkpoint.is_quantized() && !fs::exists(options.model / kSideFileName),
                 "{} is quantized already", options.model.string());
  if (recipe.weights) check_groups(checkpoint, *recipe.weights);

  OutputDirectory output(options.output);
  const std::vector<KeyStatistics> keys = calibrate(options, checkpoint, backend);
  SideFile side_file{.recipe = to_json(recipe),
                     .attention = {.kv = recipe.kv, .query = recipe.query}};
  BlockWriter blocks(checkpoint, recipe, output.partial());
  Progress progress("quantize", config.num_layers);
  for (int64_t layer = 0; layer < config.num_layers; ++layer) {
    DenseBlock block = read_block(checkpoint, layer);
    auto post_rope = smooth(block, config, recipe, keys.empty() ? nullptr : &keys[size_t(layer)]);
    if (!post_rope.empty()) side_file.attention.post_rope.push_back(std::move(post_rope));
    blocks.write(layer, block);
    progress.step();
  }
  for (const std::string& name : checkpoint.names())
    if (!blocks.written(name)) blocks.copy(name);
  blocks.finish();

  if (recipe.weights) side_file.product = recipe.weights->product;
  side_file.per_tensor_scale = blocks.per_tensor_scales();
  write_configuration(checkpoint, output.partial(), side_file, blocks);

  QuantizeReport report{.bits_per_weight = blocks.bits_per_weight(),
                        .file_bytes = weight_file_bytes(output.partial())};
  if (recipe.needs_calibration())
    report.calibration_tokens = options.calibration_windows * options.calibration_length;
  for (const auto& [name, p] : blocks.per_tensor_scales()) report.per_tensor_scaled.push_back(name);
  output.commit();
  report.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return report;
}

}  // namespace emberq
