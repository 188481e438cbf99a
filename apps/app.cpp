#include "apps/app.h"

#include <fmt/format.h>

#include "base/error.h"

namespace emberq {

void add_model(CLI::App& command, ModelOptions& options) {
  command.add_option("MODEL", options.model, "A Hugging Face model folder")->required();
}

void add_execution(CLI::App& command, ModelOptions& options) {
  command
      .add_option(
          "--kv", options.kv,
          "What the KV cache stores: fp, as computed, which also turns off the smoothing and "
          "rounding of queries and keys; or kv4, INT4. By default what the checkpoint says")
      ->check(CLI::IsMember({"fp", "kv4"}));
  command.add_option("--device", options.device, "Where the model runs")
      ->check(CLI::IsMember({"cpu"}))
      ->capture_default_str();
}

std::optional<KvScheme> kv_of(const ModelOptions& options) {
  if (options.kv.empty()) return std::nullopt;
  return options.kv == "fp" ? KvScheme::kFp : KvScheme::kInt4Head;
}

std::unique_ptr<Backend> backend_of(const ModelOptions&) { return make_cpu_backend(); }

void print_json(const OrderedJson& json) {
  fmt::print("{}\n", json.dump(-1, ' ', false, OrderedJson::error_handler_t::replace));
}

}  // namespace emberq
