#include <fmt/format.h>

#include "apps/app.h"
#include "base/json.h"
#include "base/print.h"
#include "base/table.h"
#include "bench/repack_bench.h"
#include "bench/report.h"

namespace emberq {
namespace {

using namespace bench;

const std::vector<std::string> kRepackSchemes = {"lut4-g128", "int4-g128"};

struct BenchRepackArguments {
  std::string model = "llama-3-8b";
  std::vector<std::string> schemes = kRepackSchemes;
  bool json = false;
};

double terabytes(const RepackRow& row) { return row.bytes / row.time.seconds * 1e-12; }
OrderedJson repack_json(const BenchRepackArguments& options, const Origin& origin,
                        const RepackResult& report) {
  OrderedJson rows = OrderedJson::array();
  for (const RepackRow& row : report.rows) {
    OrderedJson one = {
        {"layer", row.shape.layer}, {"n", row.shape.n}, {"k", row.shape.k}, {"scheme", row.scheme}};
    one.update(json_of(row.time));
    one["bytes"] = row.bytes;
    one["tb_per_s"] = terabytes(row);
    one["share_of_copy"] = json_of(share_of_copy(row.bytes, row.time, report.conditions.peaks));
    rows.push_back(one);
  }
  OrderedJson details = json_of(report.conditions);
  details["model"] = options.model;
  return report_json(origin, report.conditions.device, details, rows);
}

void print(const RepackResult& report) {
  const Peaks& peaks = report.conditions.peaks;
  std::vector<std::vector<std::string>> table = {
      {"layer", "NxK", "scheme", "us", "TB/s", "% of copy", "spread %", "MHz", "W"}};
  for (const RepackRow& row : report.rows) {
    const auto& load = row.time.load;
    table.push_back({row.shape.layer, fmt::format("{}x{}", row.shape.n, row.shape.k), row.scheme,
                     fmt::format("{:.1f}", row.time.seconds * 1e6),
                     fmt::format("{:.2f}", terabytes(row)),
                     cell(share_of_copy(row.bytes, row.time, peaks), 100, 0),
                     fmt::format("{:.1f}", 100 * row.time.spread),
                     load ? fmt::format("{:.0f}", load->sm_mhz) : "-",
                     load ? fmt::format("{:.0f}", load->watts) : "-"});
  }
  print_out("{}\n{}", heading(report.conditions), format_table(table));
}

void run(const BenchRepackArguments& options, const Origin& origin) {
  const RepackBench plan{.shapes = gemm_shapes(options.model), .schemes = options.schemes};
  require_gpu("bench repack");
  const RepackResult report = run_repack_bench(plan);
  options.json ? print_json(repack_json(options, origin, report)) : print(report);
}

}  // namespace

void add_bench_repack(Command& bench, const bench::Origin& origin) {
  Command repack = bench.subcommand(
      "repack",
      "Four-bit weights from the order of files into that of the products, on a GPU. "
      "docs/benchmarks.md says how");
  const auto options = std::make_shared<BenchRepackArguments>();
  repack
      .option("--model", options->model,
              "Whose weights: llama-3-8b, llama-2-7b or llama-2-70b; or one shape, outputs by "
              "inputs, as 28672x4096")
      .show_default();
  repack
      .option("--schemes", options->schemes,
              "The schemes of the weights, with commas between: lut4, a sign and an index into a "
              "table; int4, -8 to 7")
      .comma_separated()
      .one_of(kRepackSchemes)
      .show_default();
  repack.flag("--json", options->json,
              "Print one JSON object: version, commit, device, date, command, driver, regime, "
              "repeats, flushed_bytes, rotated_bytes, fixed_us, read_tb_per_s, copy_tb_per_s, "
              "fp8_tflops, sm_mhz, watts, model and rows");
  repack.action([options, origin] { run(*options, origin); });
}

}  // namespace emberq
