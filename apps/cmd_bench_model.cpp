#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <numeric>
#include <optional>

#include "apps/app.h"
#include "apps/explain.h"
#include "apps/next_tokens.h"
#include "apps/random_model.h"
#include "base/check.h"
#include "base/json.h"
#include "base/print.h"
#include "base/table.h"
#include "bench/partial_backend.h"
#include "bench/report.h"
#include "model/model.h"

namespace emberq {
namespace {

struct BenchModelArguments {
  ModelOptions execution;
  std::string model = "llama-3-8b", recipe = "emberq4", lm_head, save;
  std::vector<int> batches = {1, 16, 64};
  int context = 1024, steps = 32, page_tokens = 64;
  bool breakdown = false, explain = false, json = false;
};

using Clock = std::chrono::steady_clock;
double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

// What an operation adds to a step.
struct OperationRow {
  bench::OperationCalls calls;
  double seconds = 0;
};

struct BenchModelRow {
  int batch = 0;
  double prompt_seconds = 0;  // of all prompts, to the first token of each
  bench::CallTime step;       // in which each sequence gets a token
  double step_bytes = 0;      // weights, and the cache that a step reads
  int context = 0, steps = 0;
  std::vector<OperationRow> operations;  // where asked for

  double prompt_rate() const { return double(batch) * context / prompt_seconds; }
  double rate() const { return batch / step.seconds; }
  double terabytes() const { return step_bytes / step.seconds * 1e-12; }
};

// The time of each step, in which every sequence gets a token, after one that is recorded.
std::vector<double> time_steps(Model& model, NextTokens& next, KvPool& pool,
                               std::vector<KvSequence>& sequences, std::vector<int>& ids, int steps,
                               bool has_meaning) {
  std::vector<int32_t> rows(sequences.size());
  std::iota(rows.begin(), rows.end(), 0);
  std::vector<double> seconds;
  for (int step = -1; step < steps; ++step) {
    const auto begin = Clock::now();
    std::vector<Model::NewTokens> tokens;
    for (size_t i = 0; i < ids.size(); ++i) tokens.push_back({{&ids[i], 1}, &sequences[i]});
    const auto chosen = next.of(model.forward(tokens, pool), rows);
    if (step >= 0) seconds.push_back(seconds_since(begin));
    if (!has_meaning) continue;
    EMBERQ_CHECK(std::ranges::min(chosen) >= 0, "a logit is NaN");
    std::ranges::copy(chosen, ids.begin());
  }
  return seconds;
}

// So many sequences without tokens, in a pool that holds their prompts and steps.
struct BenchSequences {
  KvPool pool;
  std::vector<KvSequence> all;

  BenchSequences(Model& model, const BenchModelArguments& options, int batch)
      : pool(model.make_pool(
            options.page_tokens,
            batch * pages_for(options.context + options.steps + 2, options.page_tokens) + 1)) {
    for (int i = 0; i < batch; ++i) all.emplace_back(pool);
  }
};

// What each operation adds to a step of so many sequences: the time of the step less its time
// without the operation.
std::vector<OperationRow> break_down(Model& model, bench::PartialBackend& backend,
                                     const BenchModelArguments& options, int batch) {
  const auto run_steps = [&](int steps) {
    BenchSequences sequences(model, options, batch);
    std::vector<KvPool::Growth> growths;
    for (KvSequence& sequence : sequences.all) growths.push_back({&sequence, options.context});
    sequences.pool.reserve(growths);
    for (KvSequence& sequence : sequences.all) sequence.extend(options.context);
    NextTokens next(model, batch);
    std::vector<int> ids(sequences.all.size());
    return time_steps(model, next, sequences.pool, sequences.all, ids, steps, false);
  };
  const auto step_seconds = [&] { return bench::summary(run_steps(options.steps)).seconds; };
  backend.start_counting();
  run_steps(0);  // one step
  std::vector<OperationRow> rows;
  for (const bench::OperationCalls& calls : backend.calls()) rows.push_back({.calls = calls});
  const double whole = step_seconds();
  for (OperationRow& row : rows) {
    backend.leave_out(row.calls.operation);
    row.seconds = whole - step_seconds();
  }
  backend.leave_out("");
  return rows;
}

BenchModelRow run_batch(Model& model, const BenchModelArguments& options, int batch) {
  BenchSequences made(model, options, batch);
  KvPool& pool = made.pool;
  std::vector<KvSequence>& sequences = made.all;
  NextTokens next(model, batch);
  BenchModelRow row{.batch = batch, .context = options.context, .steps = options.steps};

  // Prompts run some at a time, as many as 16 384 tokens.
  const int at_once = std::max(1, 16384 / options.context);
  std::vector<int> ids(static_cast<size_t>(batch)), prompt(static_cast<size_t>(options.context));
  for (size_t i = 0; i < prompt.size(); ++i)
    prompt[i] = int(i * 7919 % size_t(model.config().vocab_size));
  const auto prefill = [&] {
    for (int first = 0; first < batch; first += at_once) {
      std::vector<Model::NewTokens> part;
      std::vector<int32_t> last;
      for (int i = first; i < std::min(batch, first + at_once); ++i) {
        part.push_back({prompt, &sequences[size_t(i)]});
        last.push_back(int32_t(part.size()) * options.context - 1);
      }
      const auto tokens = next.of(model.forward(part, pool), last);
      std::copy(tokens.begin(), tokens.end(), ids.begin() + first);
    }
  };
  prefill();  // the first time memory is made
  for (KvSequence& sequence : sequences) sequence.truncate(0);
  const auto start = Clock::now();
  prefill();
  row.prompt_seconds = seconds_since(start);

  const std::vector<double> seconds =
      time_steps(model, next, pool, sequences, ids, options.steps, true);
  row.step = bench::summary(seconds);
  row.step_bytes =
      double(model.weight_bytes()) +
      double(batch) * double(options.context + options.steps / 2) *
          double(model.cache_shape().bytes_per_token(model.backend().activation_type()));
  return row;
}

void run(const BenchModelArguments& options, const bench::Origin& origin) {
  Recipe recipe = options.recipe == "none" ? Recipe{.name = "none"} : find_recipe(options.recipe);
  if (!options.lm_head.empty()) recipe = with_lm_head(recipe, options.lm_head);
  const RandomModel numbers(published_config(options.model), recipe);
  if (!options.save.empty()) return numbers.save(options.save);
  EMBERQ_REQUIRE(options.context >= 1 && options.steps >= 1 && !options.batches.empty() &&
                     std::ranges::min(options.batches) >= 1,
                 "--context, --new-tokens and --batch must be at least 1");
  const auto whole = backend_of(options.execution);
  std::unique_ptr<bench::PartialBackend> partial;
  if (options.breakdown) partial = std::make_unique<bench::PartialBackend>(*whole);
  std::optional<ExplainingBackend> explaining;
  Backend* backend = partial ? partial.get() : whole.get();
  if (options.explain) backend = &explaining.emplace(*backend);
  const std::string device = backend->name() == "cpu" ? bench::cpu_name() : bench::gpu_name();
  const auto start = Clock::now();
  Model model = Model::load(numbers, *backend, kv_of(options.execution));
  backend->synchronize();
  const double load_seconds = seconds_since(start);

  std::vector<BenchModelRow> rows;
  for (const int batch : options.batches) {
    if (explaining)
      write_error(
          explanation(model, *explaining, steps_of(batch, options.context, options.context + 1)));
    rows.push_back(run_batch(model, options, batch));
    if (partial) rows.back().operations = break_down(model, *partial, options, batch);
  }
  if (options.json) {
    OrderedJson json_rows = OrderedJson::array();
    for (const BenchModelRow& row : rows) {
      json_rows.push_back({{"batch", row.batch},
                           {"context", row.context},
                           {"prompt_tokens_per_second", row.prompt_rate()},
                           {"time_to_first_token", row.prompt_seconds},
                           {"tokens_per_second", row.rate()},
                           {"step_us", row.step.seconds * 1e6},
                           {"spread", row.step.spread},
                           {"step_bytes", row.step_bytes},
                           {"tb_per_s", row.terabytes()}});
      for (const auto& [calls, seconds] : row.operations)
        json_rows.back()["operations"].push_back({{"operation", calls.operation},
                                                  {"calls", calls.calls},
                                                  {"us", seconds * 1e6},
                                                  {"bytes", calls.bytes}});
    }
    return print_json(bench::report_json(origin, device,
                                         {{"model", options.model},
                                          {"recipe", recipe.name},
                                          {"weight_bytes", model.weight_bytes()},
                                          {"load_seconds", load_seconds}},
                                         json_rows));
  }
  print_out("{} of random numbers, {}, on {}: {:.2f} GB of weights a step, loaded in {:.1f} s\n\n",
            options.model, recipe.name, device, double(model.weight_bytes()) * 1e-9, load_seconds);
  std::vector<std::vector<std::string>> table = {{"batch", "context", "prompt tokens/s",
                                                  "first token s", "tokens/s", "step us",
                                                  "spread %", "TB/s"}};
  for (const BenchModelRow& row : rows)
    table.push_back(
        {std::to_string(row.batch), std::to_string(row.context),
         fmt::format("{:.0f}", row.prompt_rate()), fmt::format("{:.3f}", row.prompt_seconds),
         fmt::format("{:.0f}", row.rate()), fmt::format("{:.0f}", row.step.seconds * 1e6),
         fmt::format("{:.1f}", 100 * row.step.spread), fmt::format("{:.2f}", row.terabytes())});
  print_out("{}", format_table(table));
  for (const BenchModelRow& row : rows) {
    if (row.operations.empty()) continue;
    table = {{"operation", "calls", "us", "of the step %", "MB", "TB/s"}};
    for (const auto& [calls, seconds] : row.operations)
      table.push_back({calls.operation, std::to_string(calls.calls),
                       fmt::format("{:.1f}", seconds * 1e6),
                       fmt::format("{:.1f}", 100 * seconds / row.step.seconds),
                       fmt::format("{:.1f}", calls.bytes * 1e-6),
                       seconds > 0 ? fmt::format("{:.2f}", calls.bytes / seconds * 1e-12) : "-"});
    print_out("\nA step of {} without one of its operations is shorter by\n\n{}", row.batch,
              format_table(table));
  }
}

}  // namespace

void add_bench_model(Command& bench, const bench::Origin& origin) {
  Command command = bench.subcommand(
      "model", "Time prompts and steps of a model of random numbers in a recipe's formats");
  const auto options = std::make_shared<BenchModelArguments>();
  options->execution.device = cuda_available() ? "cuda" : "cpu";
  command
      .option("--model", options->model,
              fmt::format("{}, or a config.json", fmt::join(published_configs(), ", ")))
      .show_default();
  command.option("--recipe", options->recipe, "A recipe's name or file; none: BF16").show_default();
  add_lm_head(command, options->lm_head);
  command.option("--batch", options->batches, "Sequences at a time, several by commas")
      .comma_separated()
      .show_default();
  command.option("--context", options->context, "Tokens of each prompt").show_default();
  command.option("--new-tokens", options->steps, "Steps that are timed").show_default();
  command.option("--page-tokens", options->page_tokens, "Tokens of a page of the KV cache")
      .show_default();
  add_execution(command, options->execution);
  command.option("--save", options->save,
                 "Time nothing, and write the model as a checkpoint to this new folder, for "
                 "bench load");
  command.flag("--breakdown", options->breakdown,
               "Also time steps without one operation, for each: what it adds");
  command.flag("--explain", options->explain,
               "Also print to standard error which kernels run, as emberq explain does");
  command.flag("--json", options->json,
               "Print one JSON object: version, commit, device, date, command, model, recipe, "
               "weight_bytes, load_seconds and rows");
  command.action([options, origin] { run(*options, origin); });
}

}  // namespace emberq
