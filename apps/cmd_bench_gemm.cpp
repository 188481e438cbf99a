#include <fmt/format.h>

#include <algorithm>

#include "apps/app.h"
#include "apps/bench_report.h"
#include "apps/version.h"
#include "base/json.h"
#include "base/print.h"
#include "base/table.h"
#include "measure/gemm_bench.h"

namespace emberq {
namespace {

const std::vector<std::string> kGemmSchemes = {"lut4-g128", "lut4-g128-e4m3", "int4-g128",
                                               "int4-g128-e4m3"};

struct BenchGemmArguments {
  std::string model = "llama-3-8b";
  std::vector<int64_t> tokens = {1, 16, 64, 128, 256, 512, 1024, 4096};
  std::vector<std::string> schemes = kGemmSchemes;
  bool graph = false;
  std::string cublaslt;
  bool json = false;
};

std::optional<double> ratio(const std::optional<CallTime>& fp8, const SchemeTime& one) {
  if (!fp8) return std::nullopt;
  return fp8->seconds / one.time.seconds;
}

double terabytes(const SchemeTime& one) { return one.cost.bytes / one.time.seconds * 1e-12; }
double teraflops(const SchemeTime& one) { return one.cost.flops / one.time.seconds * 1e-12; }

OrderedJson row_json(const GemmRow& row, const GemmResult& report) {
  OrderedJson json = {{"layer", row.shape.layer},
                      {"n", row.shape.n},
                      {"k", row.shape.k},
                      {"m", row.m},
                      {"bf16", row.bf16 ? json_of(*row.bf16) : OrderedJson(nullptr)},
                      {"fp8", row.fp8 ? json_of(*row.fp8) : OrderedJson(nullptr)}};
  if (!report.cutlass.empty()) {
    json["cutlass"] = nullptr;
    if (row.cutlass) {
      json["cutlass"] = json_of(row.cutlass->time);
      json["cutlass"]["tile"] = row.cutlass->tile;
      json["cutlass"]["error"] = row.cutlass->error;
    }
  }
  OrderedJson schemes = OrderedJson::object();
  for (const SchemeTime& one : row.schemes) {
    OrderedJson& scheme = schemes[one.scheme] = json_of(one.time);
    scheme["bytes"] = one.cost.bytes;
    scheme["flops"] = one.cost.flops;
    scheme["tb_per_s"] = terabytes(one);
    scheme["tflops"] = teraflops(one);
    scheme["share_of_roof"] = json_of(share_of_roof(one, report.peaks));
    scheme["fp8_ratio"] = json_of(ratio(row.fp8, one));
    scheme["error"] = one.error;
  }
  json["schemes"] = schemes;
  return json;
}

OrderedJson report_json(const BenchGemmArguments& options, const GemmResult& report) {
  OrderedJson rows = OrderedJson::array();
  for (const GemmRow& row : report.rows) rows.push_back(row_json(row, report));
  OrderedJson json = {
      {"card", report.card},
      {"driver", report.driver},
      {"date", utc_date()},
      {"version", version()},
      {"cublaslt", report.cublaslt.empty() ? OrderedJson(nullptr) : OrderedJson(report.cublaslt)},
      {"model", options.model},
      {"regime", options.graph ? "graph" : "cold"},
      {"repeats", report.repeats},
      {"flushed_bytes", report.flushed_bytes},
      {"rotated_bytes", report.rotated_bytes},
      {"fixed_us", report.peaks.fixed_seconds * 1e6},
      {"read_tb_per_s", report.peaks.read_rate * 1e-12},
      {"copy_tb_per_s", report.peaks.copy_rate * 1e-12},
      {"fp8_tflops", nullptr}};
  if (!report.cutlass.empty()) json["cutlass"] = report.cutlass;
  if (report.peaks.fp8_rate) json["fp8_tflops"] = *report.peaks.fp8_rate * 1e-12;
  json.update(json_of(report.load));
  json["notes"] = report.notes;
  json["rows"] = rows;
  return json;
}

std::string micros(const std::optional<CallTime>& time) {
  return time ? fmt::format("{:.1f}", time->seconds * 1e6) : "-";
}

std::vector<std::string> cells(const GemmRow& row, const GemmResult& report) {
  std::vector<std::string> cells = {row.shape.layer, fmt::format("{}x{}", row.shape.n, row.shape.k),
                                    fmt::format("{}", row.m), micros(row.bf16), micros(row.fp8)};
  // Of the row: its least steady product, its slowest clock, its highest power.
  double spread = 0;
  std::optional<double> mhz, watts;
  const auto include = [&](const CallTime& time) {
    spread = std::max(spread, time.spread);
    if (!time.load) return;
    mhz = std::min(mhz.value_or(time.load->sm_mhz), time.load->sm_mhz);
    watts = std::max(watts.value_or(0), time.load->watts);
  };
  if (row.bf16) include(*row.bf16);
  if (row.fp8) include(*row.fp8);
  if (row.cutlass) include(row.cutlass->time);
  if (!report.cutlass.empty()) cells.push_back(row.cutlass ? micros(row.cutlass->time) : "-");
  for (const SchemeTime& one : row.schemes) {
    include(one.time);
    cells.insert(cells.end(),
                 {micros(one.time), fmt::format("{:.2f}", terabytes(one)),
                  fmt::format("{:.0f}", teraflops(one)),
                  cell(share_of_roof(one, report.peaks), 100, 0), cell(ratio(row.fp8, one), 1, 2)});
  }
  cells.insert(cells.end(),
               {fmt::format("{:.1f}", 100 * spread), cell(mhz, 1, 0), cell(watts, 1, 0)});
  return cells;
}

std::string header(const GemmResult& report, bool graph) {
  const GpuPeaks& peaks = report.peaks;
  std::string text = fmt::format("{}, driver {}, {}", report.card, report.driver, utc_date());
  if (report.load)
    text += fmt::format(", {:.0f} MHz and {:.0f} W", report.load->sm_mhz, report.load->watts);
  if (!report.cublaslt.empty()) text += fmt::format(", cuBLASLt {}", report.cublaslt);
  if (!report.cutlass.empty()) text += fmt::format(", CUTLASS {}", report.cutlass);
  text += fmt::format(
      "\npeaks: {:.2f} TB/s read, {:.2f} TB/s copied, FP8 {} TFLOPS; an empty "
      "kernel {:.2f} us\n",
      peaks.read_rate * 1e-12, peaks.copy_rate * 1e-12, cell(peaks.fp8_rate, 1e-12, 0),
      peaks.fixed_seconds * 1e6);
  if (graph)
    return text + fmt::format(
                      "calls back to back in a graph, weights rotate through {:.0f} MB; "
                      "the median of {}\n",
                      double(report.rotated_bytes) / 1e6, report.repeats);
  return text + fmt::format(
                    "single calls, each after reading {:.0f} MB, with gaps between; the "
                    "median of {}\n",
                    double(report.flushed_bytes) / 1e6, report.repeats);
}

void print(const BenchGemmArguments& options, const GemmResult& report) {
  std::vector<std::vector<std::string>> rows = {{"layer", "NxK", "M", "BF16 us", "FP8 us"}};
  if (!report.cutlass.empty()) rows[0].push_back("cutlass us");
  for (const std::string& scheme : options.schemes)
    rows[0].insert(rows[0].end(), {scheme + " us", "TB/s", "TFLOPS", "% of roof", "FP8 / it"});
  rows[0].insert(rows[0].end(), {"spread %", "MHz", "W"});
  for (const GemmRow& row : report.rows) rows.push_back(cells(row, report));
  print_out("{}\n{}", header(report, options.graph), format_table(rows));
  for (const std::string& note : report.notes) print_out("{}\n", note);
}

void run(const BenchGemmArguments& options) {
  const GemmBench bench{.shapes = gemm_shapes(options.model),
                        .tokens = options.tokens,
                        .schemes = options.schemes,
                        .regime = options.graph ? Regime::kGraph : Regime::kCold,
                        .cublaslt = options.cublaslt};
  require_gpu("bench gemm");
  const GemmResult report = run_gemm_bench(bench);
  options.json ? print_json(report_json(options, report)) : print(options, report);
}

}  // namespace

void add_bench_gemm(Command& bench) {
  Command gemm = bench.subcommand(
      "gemm",
      "Four-bit weights times FP8 activations on a GPU, checked against the naive kernel and timed "
      "beside cuBLASLt's BF16 and FP8. docs/benchmarks.md says how");
  const auto options = std::make_shared<BenchGemmArguments>();
  gemm.option("--model", options->model,
              "Whose products: llama-3-8b, llama-2-7b or llama-2-70b; or one shape, outputs "
              "by inputs, as 28672x4096")
      .show_default();
  gemm.option("--m", options->tokens, "Numbers of tokens, with commas between")
      .comma_separated()
      .between(1, 65535)
      .show_default();
  gemm.option("--schemes", options->schemes,
              "The schemes of the weights, with commas between: lut4, a sign and an index into a "
              "table, or int4, -8 to 7, times the scale of the group; with -e4m3, the product is "
              "rounded to e4m3 (int4-g128-e4m3 is FireQ)")
      .comma_separated()
      .one_of(kGemmSchemes)
      .show_default();
  gemm.flag("--graph", options->graph,
            "Time calls back to back from a CUDA graph, on weights that take turns, instead "
            "of one by one on a cold cache");
  gemm.option("--cublaslt", options->cublaslt,
              "The file of cuBLASLt; by default what EMBERQ_CUBLASLT names, a file or a "
              "Python's site-packages, else libcublasLt.so.13 or .12 by the loader's search");
  gemm.flag("--json", options->json,
            "Print one JSON object: card, driver, date, version, cublaslt, model, regime, "
            "repeats, flushed_bytes, rotated_bytes, fixed_us, read_tb_per_s, copy_tb_per_s, "
            "fp8_tflops, sm_mhz, watts, notes and rows");
  gemm.action([options] { run(*options); });
}

}  // namespace emberq
