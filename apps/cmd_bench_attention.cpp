#include <fmt/format.h>

#include <charconv>

#include "apps/app.h"
#include "base/check.h"
#include "base/json.h"
#include "base/print.h"
#include "base/table.h"
#include "bench/attention_bench.h"

namespace emberq {
namespace {

using namespace bench;

struct BenchAttentionArguments {
  std::vector<std::string> decode = {"1x4096",   "16x4096", "64x4096",
                                     "16x16384", "1x32768", "1x131072"};
  std::vector<std::string> prefill = {"1x4096", "4x4096", "1x16384", "1x32768"};
  std::vector<std::string> kv = {"int4-asym-mse"};
  int heads = 32, kv_heads = 8, head_dim = 128, page_tokens = 64;
  bool json = false;
};

// "16x4096": sequences, and tokens of each.
AttentionShape shape_of(const std::string& text, std::string_view option) {
  const auto number = [&](std::string_view part) {
    int64_t value = 0;
    const auto [end, error] = std::from_chars(part.data(), part.data() + part.size(), value);
    return error == std::errc() && end == part.data() + part.size() ? value : 0;
  };
  const size_t cross = text.find('x');
  AttentionShape shape;
  if (cross != std::string::npos)
    shape = {.batch = number(std::string_view(text).substr(0, cross)),
             .context = number(std::string_view(text).substr(cross + 1))};
  EMBERQ_REQUIRE(shape.batch > 0 && shape.context > 0,
                 "{} {}: a shape is sequences x tokens, as 16x4096", option, text);
  return shape;
}

double terabytes(const AttentionRow& row) {
  return row.cache_bytes / row.attention.seconds * 1e-12;
}
double teraflops(const AttentionRow& row) { return row.flops / row.attention.seconds * 1e-12; }

OrderedJson row_json(const AttentionRow& row) {
  OrderedJson one = {{"batch", row.shape.batch},
                     {"context", row.shape.context},
                     {"new_tokens", row.shape.new_tokens},
                     {"kv", std::string(name(row.scheme))}};
  one.update(json_of(row.attention));
  one["cache_bytes"] = row.cache_bytes;
  one["tb_per_s"] = terabytes(row);
  one["tflops"] = teraflops(row);
  one["append_us"] = row.append.seconds * 1e6;
  one["append_tb_per_s"] = row.append_bytes / row.append.seconds * 1e-12;
  return one;
}

void run(const BenchAttentionArguments& options, const Origin& origin) {
  require_gpu("bench attention");
  AttentionBench plan{.heads = options.heads,
                      .kv_heads = options.kv_heads,
                      .head_dim = options.head_dim,
                      .page_tokens = options.page_tokens};
  for (const std::string& text : options.decode) plan.shapes.push_back(shape_of(text, "--decode"));
  for (const std::string& text : options.prefill) {
    plan.shapes.push_back(shape_of(text, "--prefill"));
    plan.shapes.back().new_tokens = plan.shapes.back().context;
  }
  for (const std::string& text : options.kv) plan.schemes.push_back(*kv_scheme_from_name(text));
  const AttentionResult result = run_attention_bench(plan);
  const Conditions& conditions = result.conditions;
  if (options.json) {
    OrderedJson rows = OrderedJson::array(), details = json_of(conditions);
    for (const AttentionRow& row : result.rows) rows.push_back(row_json(row));
    details.update({{"heads", options.heads},
                    {"kv_heads", options.kv_heads},
                    {"head_dim", options.head_dim},
                    {"page_tokens", options.page_tokens}});
    return print_json(report_json(origin, conditions.device, details, rows));
  }
  std::vector<std::vector<std::string>> table = {{"batch", "context", "new", "kv", "us", "spread %",
                                                  "TB/s", "% of read", "TFLOPS", "append us",
                                                  "% of copy"}};
  for (const AttentionRow& row : result.rows)
    table.push_back(
        {std::to_string(row.shape.batch), std::to_string(row.shape.context),
         std::to_string(row.shape.new_tokens), std::string(name(row.scheme)),
         fmt::format("{:.1f}", row.attention.seconds * 1e6),
         fmt::format("{:.1f}", 100 * row.attention.spread), fmt::format("{:.2f}", terabytes(row)),
         cell(share_of_read(row.cache_bytes, row.attention, conditions.peaks), 100, 0),
         fmt::format("{:.0f}", teraflops(row)), fmt::format("{:.1f}", row.append.seconds * 1e6),
         cell(share_of_copy(row.append_bytes, row.append, conditions.peaks), 100, 0)});
  print_out("{}{} heads of {}, {} of keys\n\n{}", heading(conditions), options.heads,
            options.head_dim, options.kv_heads, format_table(table));
}

}  // namespace

void add_bench_attention(Command& bench, const bench::Origin& origin) {
  Command command =
      bench.subcommand("attention", "Time attention over a paged cache, and what fills the cache");
  const auto options = std::make_shared<BenchAttentionArguments>();
  const auto list = [&](const char* names, std::vector<std::string>& value, const char* help) {
    return command.option(names, value, help).comma_separated().show_default();
  };
  list("--decode", options->decode, "Shapes with one new token: sequences x tokens");
  list("--prefill", options->prefill, "Shapes of prompts: sequences x tokens");
  list("--kv", options->kv, "What the cache stores")
      .one_of({kv_scheme_names().begin(), kv_scheme_names().end()});
  command.option("--heads", options->heads, "Of queries").show_default();
  command.option("--kv-heads", options->kv_heads, "Of keys and values").show_default();
  command.option("--head-dim", options->head_dim, "Channels of a head").show_default();
  command.option("--page-tokens", options->page_tokens, "Tokens of a page").show_default();
  command.flag("--json", options->json,
               "Print one JSON object: version, commit, device, date, command, driver, regime, "
               "repeats, flushed_bytes, rotated_bytes, fixed_us, read_tb_per_s, copy_tb_per_s, "
               "fp8_tflops, sm_mhz, watts, heads, kv_heads, head_dim, page_tokens and rows");
  command.action([options, origin] { run(*options, origin); });
}

}  // namespace emberq
