#include <fmt/format.h>

#include "apps/app.h"
#include "apps/bench_report.h"
#include "apps/version.h"
#include "base/json.h"
#include "base/print.h"
#include "base/table.h"
#include "measure/repack_bench.h"

namespace emberq {
namespace {

const std::vector<std::string> kRepackSchemes = {"lut4-g128", "int4-g128"};

struct BenchRepackArguments {
  std::string model = "llama-3-8b";
  std::vector<std::string> schemes = kRepackSchemes;
  bool json = false;
};

double terabytes(const RepackRow& row) { return row.bytes / row.time.seconds * 1e-12; }
double share_of_copy(const RepackRow& row, const GpuPeaks& peaks) {
  return row.bytes / peaks.copy_rate / (row.time.seconds - peaks.fixed_seconds);
}

OrderedJson report_json(const BenchRepackArguments& options, const RepackResult& report) {
  OrderedJson rows = OrderedJson::array();
  for (const RepackRow& row : report.rows) {
    OrderedJson one = {
        {"layer", row.shape.layer}, {"n", row.shape.n}, {"k", row.shape.k}, {"scheme", row.scheme}};
    one.update(json_of(row.time));
    one["bytes"] = row.bytes;
    one["tb_per_s"] = terabytes(row);
    one["share_of_copy"] = share_of_copy(row, report.peaks);
    rows.push_back(one);
  }
  return {{"card", report.card},
          {"driver", report.driver},
          {"date", utc_date()},
          {"version", version()},
          {"model", options.model},
          {"repeats", report.repeats},
          {"flushed_bytes", report.flushed_bytes},
          {"fixed_us", report.peaks.fixed_seconds * 1e6},
          {"read_tb_per_s", report.peaks.read_rate * 1e-12},
          {"copy_tb_per_s", report.peaks.copy_rate * 1e-12},
          {"rows", rows}};
}

void print(const RepackResult& report) {
  const GpuPeaks& peaks = report.peaks;
  std::vector<std::vector<std::string>> table = {
      {"layer", "NxK", "scheme", "us", "TB/s", "% of copy", "spread %", "MHz", "W"}};
  for (const RepackRow& row : report.rows) {
    const auto& load = row.time.load;
    table.push_back({row.shape.layer, fmt::format("{}x{}", row.shape.n, row.shape.k), row.scheme,
                     fmt::format("{:.1f}", row.time.seconds * 1e6),
                     fmt::format("{:.2f}", terabytes(row)),
                     fmt::format("{:.0f}", 100 * share_of_copy(row, peaks)),
                     fmt::format("{:.1f}", 100 * row.time.spread),
                     load ? fmt::format("{:.0f}", load->sm_mhz) : "-",
                     load ? fmt::format("{:.0f}", load->watts) : "-"});
  }
  print_out(
      "{}, driver {}, {}\npeaks: {:.2f} TB/s read, {:.2f} TB/s copied; an empty kernel {:.2f} us\n"
      "single calls, each after reading {:.0f} MB, with gaps between; the median of {}\n\n{}",
      report.card, report.driver, utc_date(), peaks.read_rate * 1e-12, peaks.copy_rate * 1e-12,
      peaks.fixed_seconds * 1e6, double(report.flushed_bytes) / 1e6, report.repeats,
      format_table(table));
}

void run(const BenchRepackArguments& options) {
  const RepackBench bench{.shapes = gemm_shapes(options.model), .schemes = options.schemes};
  require_gpu("bench repack");
  const RepackResult report = run_repack_bench(bench);
  options.json ? print_json(report_json(options, report)) : print(report);
}

}  // namespace

void add_bench_repack(Command& bench) {
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
              "Print one JSON object: card, driver, date, version, model, repeats, "
              "flushed_bytes, fixed_us, read_tb_per_s, copy_tb_per_s and rows");
  repack.action([options] { run(*options); });
}

}  // namespace emberq
