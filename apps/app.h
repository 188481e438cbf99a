#pragma once

#include <CLI/CLI.hpp>
#include <optional>
#include <string>

#include "base/json.h"
#include "ops/backend.h"

namespace emberq {

// One subcommand: adds its options and its action to the program. The action runs after parsing and
// throws Error or InputError.
void add_inspect(CLI::App& app);
void add_eval(CLI::App& app);
void add_quantize(CLI::App& app);
void add_recipe(CLI::App& app);
void add_generate(CLI::App& app);
void add_logits(CLI::App& app);
void add_tokenize(CLI::App& app);
void add_debug(CLI::App& app);
void add_bench(CLI::App& app);
void add_bench_gemm(CLI::App& bench);
void add_bench_repack(CLI::App& bench);
void add_debug_report(CLI::App& debug);

// Options that several commands share.
struct ModelOptions {
  std::string model;
  std::string kv;  // "", "fp", "kv4", "kv8" or a KvScheme's name
  std::string device = "cpu";
};
void add_model(CLI::App& command, ModelOptions& options);      // MODEL
void add_execution(CLI::App& command, ModelOptions& options);  // --kv, --device
std::optional<KvScheme> kv_of(const ModelOptions& options);
std::unique_ptr<Backend> backend_of(const ModelOptions& options);

void print_json(const OrderedJson& json);  // one object on stdout

}  // namespace emberq
