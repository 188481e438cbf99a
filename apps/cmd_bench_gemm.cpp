#include <fmt/format.h>

#include <algorithm>

#include "apps/app.h"
#include "base/json.h"
#include "base/print.h"
#include "base/table.h"
#include "bench/gemm_bench.h"
#include "bench/report.h"

namespace emberq {
namespace {

using namespace bench;

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
    scheme["share_of_roof"] = json_of(share_of_roof(one.cost, one.time, report.conditions.peaks));
    scheme["fp8_ratio"] = json_of(ratio(row.fp8, one));
    scheme["error"] = one.error;
  }
  json["schemes"] = schemes;
  return json;
}

OrderedJson gemm_json(const BenchGemmArguments& options, const Origin& origin,
                      const GemmResult& report) {
  OrderedJson rows = OrderedJson::array();
  for (const GemmRow& row : report.rows) rows.push_back(row_json(row, report));
  OrderedJson details = json_of(report.conditions);
  details["model"] = options.model;
  details["cublaslt"] =
      report.cublaslt.empty() ? OrderedJson(nullptr) : OrderedJson(report.cublaslt);
  if (!report.cutlass.empty()) details["cutlass"] = report.cutlass;
  details["notes"] = report.notes;
  return report_json(origin, report.conditions.device, details, rows);
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
                  cell(share_of_roof(one.cost, one.time, report.conditions.peaks), 100, 0),
                  cell(ratio(row.fp8, one), 1, 2)});
  }
  cells.insert(cells.end(),
               {fmt::format("{:.1f}", 100 * spread), cell(mhz, 1, 0), cell(watts, 1, 0)});
  return cells;
}

std::string header(const GemmResult& report) {
  std::string text = heading(report.conditions);
  if (!report.cublaslt.empty()) text += fmt::format("cuBLASLt {}\n", report.cublaslt);
  if (!report.cutlass.empty()) text += fmt::format("CUTLASS {}\n", report.cutlass);
  return text;
}

void print(const BenchGemmArguments& options, const GemmResult& report) {
  std::vector<std::vector<std::string>> rows = {{"layer", "NxK", "M", "BF16 us", "FP8 us"}};
  if (!report.cutlass.empty()) rows[0].push_back("cutlass us");
  for (const std::string& scheme : options.schemes)
    rows[0].insert(rows[0].end(), {scheme + " us", "TB/s", "TFLOPS", "% of roof", "FP8 / it"});
  rows[0].insert(rows[0].end(), {"spread %", "MHz", "W"});
  for (const GemmRow& row : report.rows) rows.push_back(cells(row, report));
  print_out("{}\n{}", header(report), format_table(rows));
  for (const std::string& note : report.notes) print_out("{}\n", note);
}

void run(const BenchGemmArguments& options, const Origin& origin) {
  const GemmBench plan{.shapes = gemm_shapes(options.model),
                       .tokens = options.tokens,
                       .schemes = options.schemes,
                       .regime = options.graph ? Regime::kContinuous : Regime::kCold,
                       .cublaslt = options.cublaslt};
  require_gpu("bench gemm");
  const GemmResult report = run_gemm_bench(plan);
  options.json ? print_json(gemm_json(options, origin, report)) : print(options, report);
}

}  // namespace

void add_bench_gemm(Command& bench, const bench::Origin& origin) {
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
            "Print one JSON object: version, commit, device, date, command, driver, regime, "
            "repeats, flushed_bytes, rotated_bytes, fixed_us, read_tb_per_s, copy_tb_per_s, "
            "fp8_tflops, sm_mhz, watts, model, cublaslt, notes and rows");
  gemm.action([options, origin] { run(*options, origin); });
}

}  // namespace emberq
