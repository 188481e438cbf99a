#include <fmt/format.h>

#include <chrono>
#include <utility>
#include <vector>

#include "apps/app.h"
#include "apps/next_tokens.h"
#include "base/json.h"
#include "base/print.h"
#include "base/table.h"
#include "bench/report.h"
#include "model/model.h"

namespace emberq {
namespace {

constexpr int kLoadPromptTokens = 16;

struct BenchLoadArguments {
  ModelOptions execution;
  int repeats = 3;
  bool json = false;
};

// Seconds of each part, one after another.
struct BenchLoadRow {
  double backend = 0;  // the first makes the device's context
  double open = 0;     // config.json, headers
  double load = 0;     // weights, until they are where they are multiplied
  double first_token = 0;
  double whole() const { return backend + open + load + first_token; }
};

// Seconds since it was made or last asked.
class Lap {
 public:
  double operator()() {
    const auto now = Clock::now();
    return std::chrono::duration<double>(now - std::exchange(start_, now)).count();
  }

 private:
  using Clock = std::chrono::steady_clock;
  Clock::time_point start_ = Clock::now();
};

BenchLoadRow load_once(const ModelOptions& options) {
  BenchLoadRow row;
  Lap lap;
  const auto backend = backend_of(options);
  backend->synchronize();
  row.backend = lap();
  const Checkpoint checkpoint = Checkpoint::open(options.model);
  row.open = lap();
  Model model = Model::load(checkpoint, *backend, kv_of(options));
  backend->synchronize();
  row.load = lap();
  std::vector<int> prompt;
  for (int i = 0; i < kLoadPromptTokens; ++i)
    prompt.push_back(int(i * 7919 % model.config().vocab_size));
  KvPool pool = model.make_pool(kLoadPromptTokens);
  KvSequence sequence(pool);
  NextTokens next(model, 1);
  const int32_t last = kLoadPromptTokens - 1;
  next.of(model.forward(prompt, sequence), {&last, 1});
  row.first_token = lap();
  return row;
}

void run(const BenchLoadArguments& options, const bench::Origin& origin) {
  const uint64_t bytes = Checkpoint::open(options.execution.model).file_bytes();
  std::vector<BenchLoadRow> rows;
  for (int i = 0; i < options.repeats; ++i) rows.push_back(load_once(options.execution));
  const std::string device =
      options.execution.device == "cpu" ? bench::cpu_name() : bench::gpu_name();
  const auto gigabytes = [&](const BenchLoadRow& row) { return double(bytes) / row.load * 1e-9; };
  if (options.json) {
    OrderedJson json_rows = OrderedJson::array();
    for (const BenchLoadRow& row : rows)
      json_rows.push_back({{"backend_seconds", row.backend},
                           {"open_seconds", row.open},
                           {"load_seconds", row.load},
                           {"gb_per_s", gigabytes(row)},
                           {"first_token_seconds", row.first_token},
                           {"seconds", row.whole()}});
    return print_json(bench::report_json(origin, device,
                                         {{"model", options.execution.model},
                                          {"file_bytes", bytes},
                                          {"prompt_tokens", kLoadPromptTokens}},
                                         json_rows));
  }
  print_out("{}, {:.2f} GB, on {} by emberq {} {}: a prompt of {} tokens\n\n",
            options.execution.model, double(bytes) * 1e-9, device, origin.version, origin.commit,
            kLoadPromptTokens);
  std::vector<std::vector<std::string>> table = {
      {"run", "backend s", "open s", "load s", "GB/s", "first token s", "all s"}};
  for (const BenchLoadRow& row : rows)
    table.push_back({std::to_string(table.size()), fmt::format("{:.3f}", row.backend),
                     fmt::format("{:.3f}", row.open), fmt::format("{:.3f}", row.load),
                     fmt::format("{:.1f}", gigabytes(row)), fmt::format("{:.3f}", row.first_token),
                     fmt::format("{:.3f}", row.whole())});
  print_out("{}", format_table(table));
}

}  // namespace

void add_bench_load(Command& bench, const bench::Origin& origin) {
  Command command = bench.subcommand(
      "load", "Time how a checkpoint comes into memory, and the first token of a prompt");
  const auto options = std::make_shared<BenchLoadArguments>();
  options->execution.device = cuda_available() ? "cuda" : "cpu";
  command.option("--model", options->execution.model, "A Hugging Face model folder").required();
  command.option("--repeats", options->repeats, "Loads, one after another in one process")
      .between(1, 1000)
      .show_default();
  add_execution(command, options->execution);
  command.flag("--json", options->json,
               "Print one JSON object: version, commit, device, date, command, model, file_bytes, "
               "prompt_tokens and rows");
  command.action([options, origin] { run(*options, origin); });
}

}  // namespace emberq
