#include "quant/transform/outliers.h"

#include <chrono>
#include <initializer_list>
#include <set>

#include "base/check.h"
#include "base/json.h"
#include "base/progress.h"
#include "checkpoint/output_folder.h"
#include "checkpoint/shard_writer.h"
#include "quant/layer/merged_tensors.h"

namespace emberq {
namespace {

constexpr double kKeyFactor = 24, kMlpInputFactor = 16, kProductFactor = 20;

// Each of `bases` plus `offset`, modulo `size`, once.
std::set<int64_t> places(std::initializer_list<int64_t> bases, int64_t offset, int64_t size) {
  std::set<int64_t> result;
  for (const int64_t base : bases) result.insert((base + offset) % size);
  return result;
}

std::set<int64_t> key_pairs(const ModelConfig& config, int64_t layer, int64_t kv_head,
                            int pattern) {
  return places({3, 21, 45}, 7 * layer + 13 * kv_head + 5 * int64_t(pattern), config.head_dim / 2);
}

void inject_into_qk_norms(F64Layer& block, const ModelConfig& config, int64_t layer, int pattern) {
  for (const int64_t pair : key_pairs(config, layer, 0, pattern))
    for (const int64_t c : {pair, pair + config.head_dim / 2}) {
      block.k_norm[size_t(c)] *= kKeyFactor;
      block.q_norm[size_t(c)] /= kKeyFactor;
    }
}

void inject_into_keys(F64Layer& block, const ModelConfig& config, int64_t layer, int pattern) {
  const int64_t d = config.head_dim, group = config.num_heads / config.num_kv_heads;
  for (int64_t kv_head = 0; kv_head < config.num_kv_heads; ++kv_head)
    for (const int64_t pair : key_pairs(config, layer, kv_head, pattern))
      for (const int64_t c : {pair, pair + d / 2}) {
        block[Projection::kK].scale_output(kv_head * d + c, kKeyFactor);
        for (int64_t head = kv_head * group; head < (kv_head + 1) * group; ++head)
          block[Projection::kQ].scale_output(head * d + c, 1 / kKeyFactor);
      }
}

// transformers casts every tensor to the type that config.json names, which must not round them.
OrderedJson config_changes(const Checkpoint& model) {
  const bool has_dtype = read_json(model.folder() / "config.json").contains("dtype");
  OrderedJson changes = {{has_dtype ? "dtype" : "torch_dtype", "float32"}};
  if (model.config().tie_word_embeddings && model.has_own_head())
    changes["tie_word_embeddings"] = false;
  return changes;
}

}  // namespace

void inject_outliers(F64Layer& block, const ModelConfig& config, int64_t layer, int pattern) {
  EMBERQ_CHECK(layer >= 0 && pattern >= 0, "layer {} and pattern {} must not be negative", layer,
               pattern);
  if (config.qk_norm)
    inject_into_qk_norms(block, config, layer, pattern);
  else
    inject_into_keys(block, config, layer, pattern);

  F64Linear &gate = block[Projection::kGate], &up = block[Projection::kUp],
            &down = block[Projection::kDown];
  for (const int64_t j :
       places({11, 137, 263, 401}, 37 * layer + 17 * int64_t(pattern), config.hidden_size)) {
    block.post_attention_layernorm[size_t(j)] *= kMlpInputFactor;
    for (F64Linear* linear : {&gate, &up}) linear->scale_input(j, 1 / kMlpInputFactor);
  }
  for (const int64_t i : places({5, 301, 607, 907, 1201, 1433}, 61 * layer + 29 * int64_t(pattern),
                                config.intermediate_size)) {
    up.scale_output(i, kProductFactor);
    down.scale_input(i, 1 / kProductFactor);
  }
}

OutlierResult write_outlier_model(const OutlierOptions& options) {
  const auto start = std::chrono::steady_clock::now();
  EMBERQ_REQUIRE(options.pattern >= 0, "the pattern of outliers must not be negative, got {}",
                 options.pattern);
  const Checkpoint checkpoint = Checkpoint::open(options.model);
  checkpoint.require_unquantized();

  OutputDirectory output(options.output);
  write_config(options.model, output.partial(), config_changes(checkpoint));
  copy_companion_files(options.model, output.partial());
  SafetensorsWriter writer(output.partial());
  std::set<std::string> written;
  const int64_t layers = checkpoint.config().num_layers;
  Progress progress("inject outliers", layers);
  for (int64_t layer = 0; layer < layers; ++layer) {
    F64Layer block = read_block(checkpoint, layer);
    inject_outliers(block, checkpoint.config(), layer, options.pattern);
    for_each_parameter(
        block, layer,
        [&](const Parameter&, const std::string& name, const std::vector<double>& values) {
          writer.add(name, merged_tensor(checkpoint.get(name), values));
          written.insert(name);
        });
    progress.step();
  }
  for (const std::string& name : checkpoint.names())
    if (!written.contains(name)) writer.add(name, checkpoint.stored(name));
  writer.finish();
  EMBERQ_CHECK(Checkpoint::open(output.partial()).names() == checkpoint.names(),
               "{} has not the tensors of {}", output.partial().string(), options.model.string());
  output.commit();
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
  return {.tensor_bytes = writer.total_bytes(), .seconds = took.count()};
}

}  // namespace emberq
