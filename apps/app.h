#pragma once

#include <memory>
#include <optional>
#include <string>

#include "apps/command.h"
#include "base/json_fwd.h"
#include "bench/report.h"
#include "checkpoint/checkpoint.h"
#include "ops/backend.h"

namespace emberq {

// One subcommand: adds its options and its action to the program. The action runs after parsing and
// throws Error or InputError.
void add_inspect(Command& app);
void add_explain(Command& app);
void add_eval(Command& app);
void add_quantize(Command& app);
void add_recipe(Command& app);
void add_generate(Command& app);
void add_logits(Command& app);
void add_tokenize(Command& app);
void add_debug(Command& app);
void add_completion(Program& program);
void add_bench(Command& app, const std::string& command_line);
void add_bench_ops(Command& bench, const bench::Origin& origin);
void add_bench_gemm(Command& bench, const bench::Origin& origin);
void add_bench_repack(Command& bench, const bench::Origin& origin);
void add_bench_model(Command& bench, const bench::Origin& origin);
void add_bench_load(Command& bench, const bench::Origin& origin);
void add_bench_attention(Command& bench, const bench::Origin& origin);
void add_debug_report(Command& debug);

// Options that several commands share.
struct ModelOptions {
  std::string model;
  std::string kv;  // "" or the name of a KvScheme
  std::string device = "cpu";
  bool batch_invariant = false;
};
void add_model(Command& command, ModelOptions& options);      // MODEL
void add_execution(Command& command, ModelOptions& options);  // --kv, --device, --batch-invariant
void add_lm_head(Command& command, std::string& scheme);      // --lm-head
std::optional<KvScheme> kv_of(const ModelOptions& options);
std::unique_ptr<Backend> backend_of(const ModelOptions& options);

// What the KV cache of a model takes. A cache that stores numbers as they are computed counts in
// the checkpoint's own type, which an engine would keep them in.
size_t kv_bytes_per_token(const Checkpoint& checkpoint);
double kv_bits_per_number(const Checkpoint& checkpoint);

void print_json(const OrderedJson& json);  // one object on stdout

// InputError where there is no GPU to measure on; `command` is "bench gemm".
void require_gpu(std::string_view command);

}  // namespace emberq
