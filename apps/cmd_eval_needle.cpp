#include <fmt/format.h>

#include "apps/cmd_eval.h"
#include "base/json.h"
#include "base/print.h"
#include "base/table.h"
#include "eval/needle.h"
#include "text/read_utf8.h"

namespace emberq {
namespace {

struct EvalNeedleArguments {
  ModelOptions model;
  std::string text;
  NeedleOptions needle;
  bool json = false;
};

void print(const EvalNeedleArguments& options, const NeedleResult& result) {
  if (options.json) {
    OrderedJson depths = OrderedJson::array();
    for (const NeedleScore& score : result.scores)
      depths.push_back({{"depth", score.depth},
                        {"exact", score.exact},
                        {"log_p", score.present},
                        {"log_p_other", score.other},
                        {"log_p_absent", score.absent},
                        {"gain_over_other", score.present - score.other},
                        {"gain_over_absent", score.present - score.absent}});
    return print_json({{"length", options.needle.length},
                       {"trials", options.needle.trials},
                       {"seed", options.needle.seed},
                       {"depths", depths},
                       {"seconds", result.seconds}});
  }
  std::vector<std::vector<std::string>> rows = {
      {"depth", "exact %", "log p", "other", "absent", "gain over other", "over absent"}};
  for (const NeedleScore& score : result.scores)
    rows.push_back({fmt::format("{:g}", score.depth), fmt::format("{:.1f}", 100 * score.exact),
                    fmt::format("{:.4f}", score.present), fmt::format("{:.4f}", score.other),
                    fmt::format("{:.4f}", score.absent),
                    fmt::format("{:+.4f}", score.present - score.other),
                    fmt::format("{:+.4f}", score.present - score.absent)});
  print_out("{}{} trials of {} tokens in {:.1f} s; nats per token of the answer\n",
            format_table(rows), options.needle.trials, options.needle.length, result.seconds);
}

void run(const EvalNeedleArguments& options) {
  const Checkpoint checkpoint = Checkpoint::open(options.model.model);
  const Tokenizer tokenizer = Tokenizer::load(checkpoint.folder());
  const auto filler = tokenizer.encode(read_utf8(options.text), SpecialTokens::kNone);
  const auto backend = backend_of(options.model);
  Model model = Model::load(checkpoint, *backend, kv_of(options.model));
  print(options, needle(model, tokenizer, filler, options.needle));
}

}  // namespace

void add_eval_needle(Command& eval) {
  Command command = eval.subcommand(
      "needle",
      "Retrieval of a number from a sentence hidden in a long text: greedy answers, and the "
      "number's log-likelihood with the sentence, with another number in it and without it");
  const auto options = std::make_shared<EvalNeedleArguments>();
  add_model(command, options->model);
  command.option("--text", options->text, "The filler, a UTF-8 file").required();
  command.option("--seq-len", options->needle.length, "Tokens of a prompt and its answer")
      .show_default();
  command
      .option("--depth", options->needle.depths,
              "Where the sentence is, with commas between: 0 is the beginning, 1 just before "
              "the question")
      .comma_separated()
      .show_default();
  command.option("--trials", options->needle.trials, "Prompts at each depth").show_default();
  command.option("--seed", options->needle.seed, "Of cities, numbers and filler").show_default();
  add_execution(command, options->model);
  command.flag("--json", options->json,
               "Print one JSON object: length, trials, seed, seconds and depths, with depth, "
               "exact, log_p, log_p_other, log_p_absent, gain_over_other, gain_over_absent");
  command.action([options] { run(*options); });
}

}  // namespace emberq
