#include "apps/app.h"

#include <fmt/format.h>

#include "base/check.h"
#include "base/json.h"
#include "base/print.h"
#include "model/model.h"
#include "quant/recipe/recipe.h"

namespace emberq {
namespace {

KvCacheShape cache_shape(const Checkpoint& checkpoint) {
  return kv_cache_shape(checkpoint.config(), checkpoint.attention().kv);
}

DType own_type(const Checkpoint& checkpoint) {
  return checkpoint.config().dtype.value_or(checkpoint.get(std::string(kEmbeddingName)).dtype());
}

}  // namespace

void add_model(Command& command, ModelOptions& options) {
  command.option("MODEL", options.model, "A Hugging Face model folder").required();
}

void add_execution(Command& command, ModelOptions& options) {
  command
      .option("--kv", options.kv,
              "What the KV cache stores: fp, as computed, which also turns off the smoothing and "
              "rounding of queries and keys; the others are codes with a scale for each token and "
              "head. By default what the checkpoint says")
      .one_of({kv_scheme_names().begin(), kv_scheme_names().end()});
  command.option("--device", options.device, "Where the model runs")
      .one_of({"cpu", "cuda"})
      .show_default();
  command.flag("--batch-invariant", options.batch_invariant,
               "On a GPU: the same bits for a token whatever else runs with it, however its prompt "
               "is cut; slower. A CPU gives them always");
}

void add_lm_head(Command& command, std::string& scheme) {
  command
      .option(
          "--lm-head", scheme,
          "What the output head's weights are: none, as in the model; the others are codes with "
          "a scale for each row. By default what the recipe says")
      .one_of({lm_head_scheme_names().begin(), lm_head_scheme_names().end()});
}

std::optional<KvScheme> kv_of(const ModelOptions& options) {
  if (options.kv.empty()) return std::nullopt;
  return kv_scheme_from_name(options.kv);
}

std::unique_ptr<Backend> backend_of(const ModelOptions& options) {
  if (options.device != "cuda") return make_cpu_backend();
  const std::string obstacle = cuda_obstacle();
  EMBERQ_REQUIRE(obstacle.empty(), "--device cuda: {}", obstacle);
  return make_cuda_backend(options.batch_invariant ? CudaKernels::kBatchInvariant
                                                   : CudaKernels::kFast);
}

size_t kv_bytes_per_token(const Checkpoint& checkpoint) {
  return cache_shape(checkpoint).bytes_per_token(own_type(checkpoint));
}

double kv_bits_per_number(const Checkpoint& checkpoint) {
  return cache_shape(checkpoint).bits_per_number(own_type(checkpoint));
}

void print_json(const OrderedJson& json) {
  print_out("{}\n", json.dump(-1, ' ', false, OrderedJson::error_handler_t::replace));
}

void require_gpu(std::string_view command) {
  EMBERQ_REQUIRE(cuda_available(),
                 "{} measures on a GPU of compute capability 9.0 (H100, H200): this machine has "
                 "none that can be used, or this program was built without CUDA",
                 command);
}

}  // namespace emberq
