#include <fmt/format.h>

#include "apps/app.h"
#include "base/json.h"
#include "base/print.h"
#include "base/table.h"
#include "bench/ops_bench.h"

namespace emberq {
namespace {

using namespace bench;

struct BenchOpsArguments {
  std::string device = "cpu";
  std::vector<int64_t> tokens;
  bool json = false;
};

double terabytes(const OpsRow& row) { return row.cost.bytes / row.time.seconds * 1e-12; }

OrderedJson ops_json(const Origin& origin, const OpsResult& report) {
  OrderedJson rows = OrderedJson::array();
  for (const OpsRow& row : report.rows) {
    OrderedJson one = {{"operation", row.operation},
                       {"variant", row.variant},
                       {"m", row.rows},
                       {"columns", row.columns}};
    one.update(json_of(row.time));
    one["bytes"] = row.cost.bytes;
    one["flops"] = row.cost.flops;
    one["tb_per_s"] = terabytes(row);
    one["share_of_copy"] =
        json_of(share_of_copy(row.cost.bytes, row.time, report.conditions.peaks));
    rows.push_back(one);
  }
  return report_json(origin, report.conditions.device, json_of(report.conditions), rows);
}

void print(const OpsResult& report) {
  std::vector<std::vector<std::string>> table = {
      {"operation", "variant", "M", "columns", "us", "spread %", "GB/s", "% of copy"}};
  for (const OpsRow& row : report.rows)
    table.push_back(
        {row.operation, row.variant, std::to_string(row.rows), std::to_string(row.columns),
         fmt::format("{:.2f}", row.time.seconds * 1e6),
         fmt::format("{:.1f}", 100 * row.time.spread), fmt::format("{:.0f}", terabytes(row) * 1e3),
         cell(share_of_copy(row.cost.bytes, row.time, report.conditions.peaks), 100, 0)});
  print_out("{}\n{}", heading(report.conditions), format_table(table));
}

void run(const BenchOpsArguments& options, const Origin& origin) {
  const bool on_gpu = options.device == "cuda";
  if (on_gpu) require_gpu("bench ops --device cuda");
  OpsBench plan{.rows = options.tokens};
  if (plan.rows.empty()) plan.rows = {1, 16, 512};
  if (options.tokens.empty() && on_gpu) plan.rows = {1, 16, 1024, 4096};
  const auto backend = on_gpu ? make_cuda_backend() : make_cpu_backend();
  const auto meter =
      on_gpu ? make_gpu_meter(*backend, Regime::kContinuous) : make_cpu_meter(*backend);
  const OpsResult report = run_ops_bench(*meter, plan);
  options.json ? print_json(ops_json(origin, report)) : print(report);
}

}  // namespace

void add_bench_ops(Command& bench, const bench::Origin& origin) {
  Command ops = bench.subcommand("ops",
                                 "The operations between the products of a decoder, in the shapes "
                                 "of Llama 3 8B, beside what a "
                                 "copy moves. docs/benchmarks.md says how");
  const auto options = std::make_shared<BenchOpsArguments>();
  ops.option("--device", options->device, "Where the operations run")
      .one_of({"cpu", "cuda"})
      .show_default();
  ops.option("--m", options->tokens,
             "Numbers of tokens, with commas between; by default 1,16,512 on the CPU and "
             "1,16,1024,4096 on a GPU")
      .comma_separated()
      .between(1, 65535);
  ops.flag(
      "--json", options->json,
      "Print one JSON object: version, commit, device, date, command, driver, regime, repeats, "
      "flushed_bytes, rotated_bytes, fixed_us, read_tb_per_s, copy_tb_per_s, fp8_tflops, "
      "sm_mhz, watts and rows");
  ops.action([options, origin] { run(*options, origin); });
}

}  // namespace emberq
